"""Batches on their way to the device: made inline on the CPU, one step ahead by a thread beside a GPU."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

from tinyvlm.training.hardware import to_device

Batch = dict[str, Tensor]


@contextmanager
def batches(
    source: Callable[..., Batch], steps: range, rank: int, world: int, device: torch.device, ahead: bool | None = None
) -> Iterator[Iterator[tuple[int, Batch]]]:
    """Yields (step, batch on `device`) for every step; `ahead` None fetches ahead exactly where there is a GPU.

    On the CPU a thread would only take a core from the training. An error of the source appears at its own step.
    """

    def fetch(step: int) -> Batch:
        batch = source(step, rank, world)
        if not batch or not all(isinstance(value, Tensor) for value in batch.values()):
            raise ValueError(
                f"The batch source returned no dict of tensors at step {step + 1}: check source(step, rank, world)."
            )
        return to_device(batch, device)

    if not (device.type != "cpu" if ahead is None else ahead):
        yield ((step, fetch(step)) for step in steps)
        return

    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:

        def fetched() -> Iterator[tuple[int, Batch]]:
            coming = pool.submit(fetch, steps[0]) if steps else None
            for step in steps:
                assert coming is not None
                batch = coming.result()
                coming = pool.submit(fetch, step + 1) if step + 1 in steps else None
                yield step, batch

        try:
            yield fetched()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def size(batch: Batch) -> int:
    """Samples in a batch: the length of its first tensor; in a mixture's (`data.views`) those of all parts."""
    first: dict[str, Tensor] = {}
    for key, value in batch.items():
        first.setdefault(key.rpartition("/")[0], value)
    return sum(value.shape[0] if value.ndim else 1 for value in first.values())
