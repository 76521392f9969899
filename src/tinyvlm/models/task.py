"""A task is how a paper trains its network: what is drawn at random, which losses, which state.

The network's `forward` is deterministic and knows no loss. Everything else that a training step needs stands in
the paper's `Task`, in the same file, behind four calls that the trainer makes in this order:

    task.before_step()                  # momentum twins move here
    batch = task.prepare(batch, rng)    # masks, prefix lengths, hard-negative draws, frozen tokenizers
    terms = task(batch)                 # network + losses; the only call that DDP and compile wrap
    (backward, optimiser)
    task.after_step(batch)              # queues are filled here, from what `prepare` put into the batch

The trainer calls `prepare` without gradient (`torch.no_grad`), whichever class wrote it.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from tinyvlm.encoders.vision import normalise

Batch = Mapping[str, Tensor]


class Term(NamedTuple):
    """One loss as a sum and the number of things summed, so that processes and micro-batches add up exactly.

    `sum` is a differentiable scalar (weights of the paper included), `count` a scalar without gradient.
    The trainer minimises `sum / count`, with `count` added over all processes.
    """

    sum: Tensor
    count: Tensor  # type: ignore[assignment]  # tuple.count is of no use here

    @classmethod
    def of(cls, losses: Tensor, counted: Bool[Tensor, "..."] | None = None) -> "Term":
        """Sum and number of `losses`, one per sample, word or pair: of all, or of those `counted`."""
        if counted is not None:
            return cls(losses[counted].sum(), counted.sum())
        return cls(losses.sum(), torch.tensor(losses.numel(), device=losses.device))

    @property
    def mean(self) -> Tensor:
        return self.sum / self.count.clamp_min(1)


def same_scene(batch: Batch) -> Tensor:
    """Which captions of a batch are true of which pictures, bool [b, b].

    Those of scenes with equal `batch["content"]`, or with equal text where a data set gives no content.
    """
    key = batch["content"][:, None] if "content" in batch else batch["text"]
    return (key[:, None] == key[None]).all(-1)


class Task(nn.Module):
    """Base class. A subclass holds its network as `self.model` and writes `forward`."""

    model: nn.Module

    def prepare(self, batch: Batch, rng: torch.Generator) -> Batch:
        """Normalise `image`, where there is one, and keep the rest; a subclass adds what the step needs.

        All draws come from `rng`, which lives on the CPU: the same draws on every device.
        """
        return {**batch, "image": normalise(batch["image"])} if "image" in batch else batch

    def forward(self, batch: Batch) -> dict[str, Term]:
        """Losses by name, each a `Term`; the name is the equation's name in the paper."""
        raise TypeError(f"{type(self).__name__} defines no losses: write forward(batch) -> dict[str, Term]")

    def before_step(self) -> None:
        """State that moves before the network runs (momentum twins)."""

    def after_step(self, batch: Batch) -> None:
        """State that moves after the optimiser (feature queues, clipped temperatures). `batch` is the prepared one."""
