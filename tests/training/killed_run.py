"""Train in child processes that are killed with SIGKILL, until one survives. Run by test_kills.py.

    python killed_run.py FOLDER points     # each child kills itself at the n-th file operation of a checkpoint
    python killed_run.py FOLDER times      # the kernel kills each child at a random moment after a new checkpoint

Children are forked, so that each costs milliseconds and not another import of torch; the kills are the kernel's.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from toy_task import Toy, stages

from tinyvlm.training import fit
from tinyvlm.training.checkpoints import Checkpoints

STEPS = 24
OPERATIONS = ("mkdir", "fsync", "rename", "write_text", "save_file", "rmtree")


def die_within(seconds: float, folder: Path) -> Callable[[int, int], None]:
    """For `on_step`: once there is a new checkpoint, this process is killed a random part of `seconds` later.

    A timer of the process itself: a busy machine may delay both, but then it delays the steps too.
    """
    before = newest(folder)

    def look(done: int, total: int) -> None:
        if newest(folder) != before and signal.getitimer(signal.ITIMER_REAL)[0] == 0:
            signal.setitimer(signal.ITIMER_REAL, seconds * random.Random(before).uniform(0.01, 1))
        time.sleep(seconds / 5)

    return look


def train(folder: Path, on_step: Callable[[int, int], None] | None = None) -> None:
    task = Toy(drop=0.2)
    history = fit(
        task, stages(STEPS), folder=folder, save_every=2, progress=None, device="cpu", on_step=on_step,
    )  # fmt: skip
    torch.save({"tensors": task.state_dict(), "loss": history.loss}, folder / "final.pt")


def die_at(operation: str, count: int) -> None:
    """Make this process kill itself in the middle of the `count`-th call of a file operation."""
    import pathlib
    import shutil

    import safetensors.torch

    home = {
        "mkdir": pathlib.Path,
        "write_text": pathlib.Path,
        "fsync": os,
        "rename": os,
        "save_file": safetensors.torch,
        "rmtree": shutil,
    }[operation]
    real = getattr(home, operation)
    left = [count]

    def deadly(*args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            if operation == "save_file":  # half the file is there
                real(*args, **kwargs)
                os.truncate(args[1], os.path.getsize(args[1]) // 2)
            if operation == "write_text":
                real(args[0], args[1][: len(args[1]) // 2], **kwargs)
            if operation == "rmtree":
                next(path for path in Path(args[0]).iterdir()).unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)

    setattr(home, operation, deadly)


def forked(work) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    return child


def newest(folder: Path) -> str:
    latest = Checkpoints(folder, {}).latest()
    return latest.name if latest else "none"


def main(folder: Path, mode: str) -> None:
    torch.set_num_threads(1)
    # What torch and Accelerate import at the first step is imported once, not in every child.
    fit(Toy(), stages(3), progress=None, device="cpu")
    _, status = os.waitpid(forked(lambda: train(folder / "whole")), 0)
    assert status == 0, "the uninterrupted run failed"
    killed = folder / "killed"
    kills, resumed = 0, set()
    for item in [(op, n) for n in (2, 5) for op in OPERATIONS] if mode == "points" else range(8):
        if mode == "points":
            child = forked(lambda item=item: (die_at(*item), train(killed)))
        else:
            child = forked(lambda: train(killed, die_within(0.05, killed)))
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, f"a child failed at {item}"
            break
        assert os.WTERMSIG(status) in (signal.SIGKILL, signal.SIGALRM)
        kills += 1
        resumed.add(newest(killed))
    _, status = os.waitpid(forked(lambda: train(killed)), 0)
    assert status == 0, "the resumed run failed"
    print(kills, len(resumed))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
