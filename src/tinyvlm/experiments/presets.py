"""Presets are budgets of a run: `smoke` asks whether every line runs; `cpu` and `gpu` train for minutes."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from tinyvlm.config import Config

PRESETS = ("smoke", "cpu", "gpu")
VARIABLE, SIZE_VARIABLE = "TINYVLM_PRESET", "TINYVLM_SIZE"

T = TypeVar("T")


def preset(name: str | None = None) -> str:
    """The preset called `name`, or $TINYVLM_PRESET, or the hardware's: gpu where CUDA is available, else cpu.

    Raises ValueError for an unknown name.
    """
    source = "Preset" if name else f"Preset in {VARIABLE}"
    chosen = name or os.environ.get(VARIABLE)
    if not chosen:
        import torch

        return "gpu" if torch.cuda.is_available() else "cpu"
    if chosen not in PRESETS:
        raise ValueError(f"{source} is {chosen!r}: choose one of {', '.join(PRESETS)}.")
    return chosen


def choose(name: str, *, smoke: T, cpu: T, gpu: T) -> T:
    """The value for a preset, as in `choose(preset, smoke=20, cpu=1200, gpu=5000)`."""
    return {"smoke": smoke, "cpu": cpu, "gpu": gpu}[preset(name)]


def budget(budgets: Mapping[str, T], preset: str, sizes: type[Config] | None, size: str | None = None) -> T:
    """The preset's budget with the model size that is asked for: `size`, else $TINYVLM_SIZE, else the budget's own.

    `sizes` is the configuration that knows the sizes; None where a week trains no model, which $TINYVLM_SIZE leaves
    alone. Raises ValueError for an unknown preset, for an unknown size, and for a size where there is no model.
    """
    if preset not in budgets:
        raise ValueError(f"Preset is {preset!r}: choose one of {', '.join(budgets)}.")
    chosen: Any = budgets[preset]
    if sizes is None:
        if size is not None:
            raise ValueError(f"Size is {size!r}, but this week trains no model: leave the size out.")
        return budgets[preset]
    wanted = size or os.environ.get(SIZE_VARIABLE) or chosen.size
    sizes.named(wanted)  # refuses a size that does not exist, with the list of those that do
    changed: T = replace(chosen, size=wanted)
    return changed
