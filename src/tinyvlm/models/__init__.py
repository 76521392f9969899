"""One file per paper. `task` says how a paper is trained, `base` how it is saved and loaded."""
