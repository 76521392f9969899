"""Two gloo processes on halves of each batch train to the weights of one process on the whole batch."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
from toy_task import Toy, stages, weights

from tinyvlm.training import fit

HERE = Path(__file__).parent


def test_two_processes_equal_one(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, str(HERE / "two_processes.py"), str(tmp_path)],
            env=os.environ
            | shared
            | {"RANK": str(rank), "LOCAL_RANK": str(rank), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        ended = [process.communicate(timeout=120) for process in started]
    finally:
        for process in started:
            process.kill()
    for process, (_, errors) in zip(started, ended, strict=True):
        assert process.returncode == 0, errors[-2000:]

    monkeypatch.setattr(Toy, "noise", 0.0)
    task = Toy(seed=0)
    history = fit(task, stages(), progress=None, device="cpu")
    for rank in range(2):
        theirs = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        for name, value in weights(task).items():
            torch.testing.assert_close(theirs["tensors"][name], value, atol=1e-6, rtol=0)
        for name, value in history.ema.items():
            torch.testing.assert_close(theirs["ema"][name], value, atol=1e-6, rtol=0)
        for name, losses in history.losses.items():
            torch.testing.assert_close(torch.tensor(theirs["losses"][name]), torch.tensor(losses), atol=1e-5, rtol=0)
    # Rank 0 alone reports, in samples of the whole batch, and writes the checkpoints.
    assert "12 steps, 96 samples" in ended[0][0] and "samples" not in ended[1][0]
    assert [p.name[5:] for p in sorted((tmp_path / "run" / "checkpoints").iterdir())] == ["step-11", "step-12"]
    # Rank 1 alone was interrupted, and both stopped after the same step.
    stops = [out.splitlines()[-1].partition("interrupted ")[2] for out, _ in ended]
    assert stops == ["True after 4"] * 2
