"""A recipe is data: stages, their optimisers and their schedules.

Stage("pretrain", steps=1200, source=world.source(128), optimisers=(Optimiser(lr=1e-3),), schedule=Schedule(50))
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

# Weight decay pulls towards zero, which means something for a matrix that multiplies features, and nothing for an
# offset, a scale, or vectors that stand for one place, one token or one learned query each. The latter are parameters
# of those names themselves: a layer called `queries` has a `queries.weight`, which decays.
NO_DECAY = re.compile(
    r"(^|[._])(bias|norm\w*|ln\w*|positions?|positional|pos|cls|temperature)([._]|$)"
    r"|(^|[._])(queries|latents?|table|tokens?)$"
)

OPTIMISERS = ("adamw", "adafactor", "sgd")
SCHEDULES = ("constant", "cosine", "linear")


class Source(Protocol):
    """A pure function of its arguments: the batch of a step, or the `rank`-th of its `world` equal slices."""

    def __call__(self, step: int, rank: int = 0, world: int = 1) -> dict[str, Tensor]: ...


def _compiled(pattern: str, what: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{what} is no regular expression: {pattern!r} ({error}).") from None


@dataclass(frozen=True)
class Schedule:
    """Factor on the learning rate: linear warm-up over `warmup` steps, then `kind` down to `floor` at the last step."""

    warmup: int = 0
    kind: str = "cosine"
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in SCHEDULES:
            raise ValueError(f"Schedule kind {self.kind!r} is unknown: choose one of {', '.join(SCHEDULES)}.")
        if self.warmup < 0 or not 0 <= self.floor <= 1:
            raise ValueError(
                f"Schedule needs warmup >= 0 and floor within 0 and 1, not {self.warmup} and {self.floor}."
            )

    def factor(self, step: int, steps: int) -> float:
        """Factor at `step` (from 0) of `steps`. The first step of a warm-up is 1/warmup, not 0."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        if self.kind == "constant":
            return 1.0
        progress = min(1.0, (step - self.warmup) / max(1, steps - 1 - self.warmup))
        fall = (1 + math.cos(math.pi * progress)) / 2 if self.kind == "cosine" else 1 - progress
        return self.floor + (1 - self.floor) * fall


@dataclass(frozen=True)
class Optimiser:
    """One optimiser for the parameters whose names match the regular expression `parameters`.

    Names are those of `task.named_parameters()`, searched, not matched from the start; the first optimiser of a stage
    that matches a parameter takes it. `schedule` overrides the stage's. `momentum` is read by sgd, `betas` by adamw.
    """

    name: str = "adamw"
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    weight_decay: float = 0.05
    parameters: str = ""
    momentum: float = 0.9
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        if self.name not in OPTIMISERS:
            raise ValueError(f"Optimiser {self.name!r} is unknown: choose one of {', '.join(OPTIMISERS)}.")
        _compiled(self.parameters, "Optimiser.parameters")


@dataclass(frozen=True)
class Stage:
    """One stretch of training: `steps` updates on the batches of `source`.

    `trainable`: regular expression searched in parameter names; the others are frozen (None: all that the task left
    trainable). `clip`: largest global gradient norm (None: no clipping).
    """

    name: str
    steps: int
    source: Source | Callable[..., dict[str, Tensor]] = field(repr=False)
    trainable: str | None = None
    optimisers: Sequence[Optimiser] = (Optimiser(),)
    schedule: Schedule = Schedule()
    clip: float | None = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"Stage {self.name!r} has {self.steps} steps: it needs at least 1.")
        if not self.optimisers:
            raise ValueError(f"Stage {self.name!r} has no optimiser: give it at least one Optimiser.")
        if self.clip is not None and self.clip <= 0:
            raise ValueError(f"Stage {self.name!r} clips at {self.clip}: give a norm above 0, or None for no clipping.")
        if self.trainable is not None:
            _compiled(self.trainable, f"trainable of stage {self.name!r}")

    def settings(self) -> dict[str, Any]:
        """What must be the same for a run to be continued, as plain JSON values."""
        rows = {key: getattr(self, key) for key in ("name", "steps", "trainable", "clip")}
        rows["schedule"] = vars(self.schedule)
        rows["optimisers"] = [
            vars(one) | {"betas": list(one.betas), "schedule": vars(one.schedule) if one.schedule else None}
            for one in self.optimisers
        ]
        return rows


@contextmanager
def only_trainable(task: nn.Module, stage: Stage) -> Iterator[dict[str, nn.Parameter]]:
    """The stage's trainable parameters by name; the rest is frozen within the context and as before after it."""
    before = {name: parameter.requires_grad for name, parameter in task.named_parameters()}
    wanted = re.compile(stage.trainable or "")
    chosen = {n: p for n, p in task.named_parameters() if before[n] and wanted.search(n)}
    if not chosen:
        shown = ", ".join(list(before)[:3]) or "none"
        raise ValueError(
            f"Stage {stage.name!r} trains nothing: trainable={stage.trainable!r} matches no parameter that requires a "
            f"gradient; names look like {shown}."
        )
    try:
        for name, parameter in task.named_parameters():
            parameter.requires_grad_(name in chosen)
        yield chosen
    finally:
        for name, parameter in task.named_parameters():
            parameter.requires_grad_(before[name])


def decays(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies: matrices and kernels, but no bias, norm, position, learned query or token."""
    return parameter.ndim > 1 and not NO_DECAY.search(name)


def build_optimisers(stage: Stage, parameters: dict[str, nn.Parameter]) -> list[torch.optim.Optimizer]:
    """One torch optimiser per `stage.optimisers`, with a decayed and an undecayed group each.

    Raises ValueError when a trainable parameter matches no optimiser, or an optimiser matches no parameter.
    """
    left = dict(parameters)
    built = []
    for number, one in enumerate(stage.optimisers):
        names = [name for name in left if re.search(one.parameters, name)]
        if not names:
            raise ValueError(
                f"Optimiser {number} of stage {stage.name!r} has no parameter: {one.parameters!r} matches no trainable "
                "name that an earlier optimiser left over."
            )
        mine = {name: left.pop(name) for name in names}
        groups = []
        for decay in (True, False):
            members = [(n, p) for n, p in mine.items() if decays(n, p) == decay]
            if members:
                groups.append(
                    {
                        "params": [p for _, p in members],
                        "names": [n for n, _ in members],
                        "weight_decay": one.weight_decay if decay else 0.0,
                    }
                )
        built.append(_build(one, groups))
    if left:
        raise ValueError(
            f"Stage {stage.name!r} trains {next(iter(left))} and {len(left) - 1} more without an optimiser: add an "
            "Optimiser whose parameters= matches them, or freeze them with trainable=."
        )
    return built


def _build(one: Optimiser, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    if one.name == "sgd":
        return torch.optim.SGD(groups, lr=one.lr, momentum=one.momentum)
    if one.name == "adafactor":
        return torch.optim.Adafactor(groups, lr=one.lr)
    # Fused: the update of a micro model costs 0.8 instead of 3.6 ms on one CPU core, and gives the same bits each time.
    fused = all(p.device.type in ("cpu", "cuda") for group in groups for p in group["params"])
    return torch.optim.AdamW(groups, lr=one.lr, betas=one.betas, eps=one.eps, fused=fused)


def set_rates(stage: Stage, optimisers: Sequence[torch.optim.Optimizer], step: int) -> None:
    """Set every group's learning rate for `step`: a pure function of the step, so nothing has to be resumed."""
    for one, optimiser in zip(stage.optimisers, optimisers, strict=True):
        rate = one.lr * (one.schedule or stage.schedule).factor(step, stage.steps)
        for group in optimiser.param_groups:
            group["lr"] = rate
