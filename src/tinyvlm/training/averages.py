"""Exponential moving average of weights (Polyak averaging, as in Tarvainen & Valpola 2017, equation 1)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """average <- decay * average + (1 - decay) * weights, for all parameters at once.

    `weights`: the averages by parameter name, on the parameters' devices.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], start: Mapping[str, Tensor] | None = None):
        self._parameters: list[Tensor] = list(parameters.values())
        self.weights = {
            name: (start or parameters)[name].detach().to(p.device, copy=True) for name, p in parameters.items()
        }

    @torch.no_grad()
    def update(self, decay: float) -> None:
        torch._foreach_lerp_(list(self.weights.values()), self._parameters, 1 - decay)


@contextmanager
def averaged(task: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Within the context `task` carries the averaged weights, as in `with averaged(task, history.ema): ...`."""
    mine = dict(task.named_parameters())
    missing = [name for name in weights if name not in mine]
    if missing:
        raise ValueError(
            f"The averaged weights hold {missing[0]!r}, which this task has not: use the task they came from."
        )
    before = {name: mine[name].detach().clone() for name in weights}
    with torch.no_grad():
        for name, value in weights.items():
            mine[name].copy_(value)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, value in before.items():
                mine[name].copy_(value)
