"""SIGKILL at any moment, resume, and end in the same bits as a run that was left alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the killed processes are forked, which Windows cannot do")
@pytest.mark.parametrize(("mode", "least"), [("points", 6), ("times", 3)])
def test_killed_and_resumed_equals_uninterrupted(mode, least, tmp_path):
    done = subprocess.run(
        [sys.executable, str(HERE / "killed_run.py"), str(tmp_path), mode],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    kills, places = map(int, done.stdout.split()[-2:])
    assert kills >= least and places >= 3, f"only {kills} kills, resumed from {places} places"
    whole, killed = (torch.load(tmp_path / name / "final.pt", weights_only=True) for name in ("whole", "killed"))
    assert whole["loss"] == killed["loss"] and len(whole["loss"]) == 24
    assert whole["tensors"].keys() == killed["tensors"].keys()
    for name, value in whole["tensors"].items():
        assert torch.equal(value, killed["tensors"][name]), name
    checkpoints = sorted(path.name for path in (tmp_path / "killed" / "checkpoints").iterdir())
    assert len(checkpoints) == 2 and checkpoints[-1].endswith("step-24")
