"""Two gloo processes on halves of each batch train to the weights of one process on the whole batch."""

from pathlib import Path

import torch
from toy_task import Toy, stages, weights

from tinyvlm.training import fit

WORKER = Path(__file__).with_name("two_processes.py")


def test_two_processes_equal_one(two_ranks, tmp_path, monkeypatch):
    ranks = two_ranks(WORKER, tmp_path)
    monkeypatch.setattr(Toy, "noise", 0.0)
    task = Toy(seed=0)
    history = fit(task, stages(), progress=None, device="cpu")
    for theirs in ranks:
        for name, value in weights(task).items():
            torch.testing.assert_close(theirs["tensors"][name], value, atol=1e-6, rtol=0)
        for name, losses in history.losses.items():
            torch.testing.assert_close(torch.tensor(theirs["losses"][name]), torch.tensor(losses), atol=1e-5, rtol=0)
    # Rank 0 alone reports, in samples of the whole batch, and writes the checkpoints.
    assert "12 steps, 96 samples" in ranks[0]["printed"] and "samples" not in ranks[1]["printed"]
    assert [p.name[5:] for p in sorted((tmp_path / "run" / "checkpoints").iterdir())] == ["step-11", "step-12"]
    # Rank 1 alone was interrupted, and both stopped after the same step.
    assert [theirs["interrupted"] for theirs in ranks] == [(True, 4)] * 2
