"""What all views of the emoji world share: batches by index, and sources that a trainer asks step by step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from tinyvlm.data.hashing import permutation
from tinyvlm.data.tokenizer import load_tokenizer

Batch = dict[str, torch.Tensor]


def as_indices(indices: ArrayLike) -> NDArray[np.int64]:
    """`indices` (list, range, array or tensor) as int64 [B]; ValueError for anything but a row of integers."""
    if isinstance(indices, torch.Tensor):
        indices = indices.cpu().numpy()
    index = np.asarray(indices)
    if index.ndim != 1 or (index.size and not np.issubdtype(index.dtype, np.integer)):
        raise ValueError(f"indices are {index.dtype} of shape {index.shape}, but must be a row of integers, shape [B]")
    return index.astype(np.int64)


def encode(texts: Sequence[str], length: int, truncate: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids int64 [B, length] and the mask of real tokens, bool [B, length], by the course's tokenizer.

    Raises ValueError, naming the limit, for a text that is longer, unless `truncate`.
    """
    return load_tokenizer().encode(list(texts), length, truncate=truncate)


class View(ABC):
    """Examples numbered from 0, each a pure function of the view's settings and its index."""

    @abstractmethod
    def batch(self, indices: ArrayLike) -> Batch:
        """The examples `indices` (int [B]) as tensors whose first axis is B."""

    def source(
        self, batch_size: int, offset: int = 0, examples: int | None = None, **options: object
    ) -> Callable[..., Batch]:
        """A batch source: `source(step, rank=0, world=1)` is a pure function of its arguments.

        Step s holds the examples offset + s * batch_size and those after it. With `examples` the view ends there:
        its examples come in a new order each epoch. Rank r gets the r-th equal contiguous slice. `options` go to
        `batch`. Raises ValueError for a batch size that is not positive or that `world` does not divide.
        """
        if batch_size < 1:
            raise ValueError(f"batch size {batch_size}: a batch holds at least one example; use 1 or more")
        if offset < 0:
            raise ValueError(f"offset {offset} is negative: examples are numbered from 0; use 0 or more")
        if examples is not None and examples < 1:
            raise ValueError(f"examples={examples}: an epoch holds at least one example; use None for no end")
        orders: dict[int, NDArray[np.int64]] = {}

        def order(epoch: int) -> NDArray[np.int64]:
            assert examples is not None
            if epoch not in orders:
                for past in [e for e in orders if abs(e - epoch) > 1]:
                    del orders[past]
                orders[epoch] = permutation(examples, "epoch", seed=epoch)
            return orders[epoch]

        def source(step: int, rank: int = 0, world: int = 1) -> Batch:
            if batch_size % world or not 0 <= rank < world:
                raise ValueError(
                    f"a batch of {batch_size} has no equal slice {rank} of {world}; use a batch size that "
                    f"{world} divides and a rank below {world}"
                )
            share = batch_size // world
            place = step * batch_size + rank * share + np.arange(share)
            if examples is not None:
                epochs = place // examples
                place = np.concatenate([order(int(e))[place[epochs == e] % examples] for e in np.unique(epochs)])
            return self.batch(offset + place, **options)

        return source


class Mixture:
    """A batch source made of several: `Mixture(pairs=world.source(64), texts=texts.source(16))`.

    One flat dict holds the batches of all, each key behind the name of its source ("texts/text"); `part` takes them
    apart again. Each source keeps its own batch size, of which every process gets its share.
    """

    def __init__(self, **sources: Callable[..., Batch]):
        if not sources:
            raise ValueError("Mixture: no source; name at least one, as in Mixture(pairs=world.source(64))")
        self.sources = sources

    def __call__(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        batches = {name: source(step, rank, world) for name, source in self.sources.items()}
        return {f"{name}/{key}": value for name, batch in batches.items() for key, value in batch.items()}


def part(batch: Mapping[str, torch.Tensor], name: str) -> Batch:
    """The batch of the source `name` in a mixture's batch. Raises KeyError, naming the parts there are."""
    found = {key.removeprefix(f"{name}/"): value for key, value in batch.items() if key.startswith(f"{name}/")}
    if not found:
        names = dict.fromkeys(key.partition("/")[0] for key in batch if "/" in key)
        raise KeyError(f"this batch has no part {name!r}; its parts are: {', '.join(names) or 'none'}")
    return found
