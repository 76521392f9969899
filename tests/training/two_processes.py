"""One of two processes of a run. It joins the group here, by a file; Accelerate takes the group that it finds."""

import io
import os
import signal
import sys
from contextlib import redirect_stdout
from pathlib import Path

import torch
import torch.distributed as dist
from toy_task import Toy, stages

from tinyvlm.training import fit


def interrupted(rank: int) -> tuple[bool, int]:
    """Whether and after how many steps a run stops when rank 1 alone is interrupted after its third."""

    def interrupt(done, total):
        if done == 3 and rank == 1:
            os.kill(os.getpid(), signal.SIGINT)

    stopped = fit(Toy(), stages(), progress=None, device="cpu", on_step=interrupt)
    return stopped.interrupted, stopped.steps


def main(rank: int, world: int, address: str, folder: Path) -> None:
    for name, value in (("RANK", rank), ("WORLD_SIZE", world)):
        os.environ[name] = os.environ[f"LOCAL_{name}"] = str(value)
    os.environ["ACCELERATE_USE_CPU"] = "true"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=world)
    Toy.noise = 0.0  # each rank draws its own noise; without it two halves are the whole batch
    task = Toy(seed=rank)  # DDP sends rank 0's weights to the others
    with redirect_stdout(io.StringIO()) as printed:
        history = fit(task, stages(), folder=folder / "run", progress="text", device="cpu")
    results = {"tensors": task.state_dict(), "losses": history.losses}
    results |= {"printed": printed.getvalue(), "interrupted": interrupted(rank)}
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
