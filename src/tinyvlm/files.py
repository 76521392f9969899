"""Files that are either whole or not there."""

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

Write = Callable[[Path], object]


def write_together(files: Mapping[Path, Write]) -> None:
    """For each path let `write(temporary path)` make a file; put all in place once every one is written.

    Whatever fails on the way (a full disk, a read-only folder, an interrupt), older files stay as they were and no
    half-written one is left behind. Raises OSError with one sentence that names the file and the remedy.
    """
    temporaries: dict[Path, Path] = {}
    path = Path()
    try:
        for path, write in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            os.close(handle)
            temporary = temporaries[path] = Path(name)
            write(temporary)
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
        for path, temporary in temporaries.items():
            temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(
            error.errno,
            f"could not write {path} ({reason}): free some space or choose a folder that you may write to; "
            "what was there before is unchanged",
        ) from error
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)


def write_atomically(path: str | Path, write: Write) -> Path:
    """`write_together` for one file. Returns its path."""
    path = Path(path)
    write_together({path: write})
    return path


def write_text(path: str | Path, text: str) -> Path:
    """`write_atomically` for a text in UTF-8."""
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
