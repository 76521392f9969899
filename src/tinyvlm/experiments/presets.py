"""Presets are budgets of a run: `smoke` asks whether every line runs; `cpu` and `gpu` train for minutes."""

import os
from typing import TypeVar

PRESETS = ("smoke", "cpu", "gpu")
VARIABLE = "TINYVLM_PRESET"

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
