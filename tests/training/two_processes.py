"""One of two processes of a run, as `accelerate launch` or torchrun starts it: RANK, WORLD_SIZE and so on are set."""

import os
import signal
import sys
from pathlib import Path

import torch
from toy_task import Toy, stages

from tinyvlm.training import fit


def main(folder: Path) -> None:
    rank = int(os.environ["RANK"])
    Toy.noise = 0.0  # each rank draws its own noise; without it two halves are the whole batch
    task = Toy(seed=rank)  # DDP sends rank 0's weights to the others
    history = fit(task, stages(), folder=folder / "run", progress="text", device="cpu")
    torch.save({"tensors": task.state_dict(), "ema": history.ema, "losses": history.losses}, folder / f"rank{rank}.pt")

    def interrupt(done, total):
        if done == 3 and rank == 1:
            os.kill(os.getpid(), signal.SIGINT)

    stopped = fit(Toy(), stages(), progress=None, device="cpu", on_step=interrupt)
    print(f"rank {rank} interrupted {stopped.interrupted} after {stopped.steps}")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
