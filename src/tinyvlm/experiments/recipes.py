"""The recipe that every small model of the course is trained with; a week says only what differs."""

from tinyvlm.training import Optimiser, Schedule, Stage
from tinyvlm.training.stages import Source


def adamw(
    lr: float,
    *,
    decay: float = 0.05,
    betas: tuple[float, float] = (0.9, 0.98),
    eps: float = 1e-6,
    parameters: str = "",
) -> Optimiser:
    """AdamW with the betas and eps of CLIP's ViTs (Radford et al. 2021) for parameters whose names match."""
    return Optimiser(lr=lr, betas=betas, eps=eps, weight_decay=decay, parameters=parameters)


def stage(
    name: str,
    steps: int,
    source: Source,
    *optimisers: Optimiser,
    warmup: int = 50,
    part: int = 4,
    trainable: str | None = None,
) -> Stage:
    """Linear warm-up, then a cosine to 2 % of the peak. Gradients are clipped at a norm of 1.

    The warm-up takes `warmup` updates, but at most one `part`-th of all, and at least one update.
    """
    schedule = Schedule(warmup=min(warmup, max(1, steps // part)), kind="cosine", floor=0.02)
    return Stage(name, steps, source, trainable=trainable, optimisers=optimisers, schedule=schedule)
