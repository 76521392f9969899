"""Training: the loop, its stages, checkpoints, and receipts of finished runs.

Names are loaded when first used, so that reading a receipt (`tinyvlm.training.receipts`) does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinyvlm.training.history import History, NonFiniteLoss
    from tinyvlm.training.loop import fit
    from tinyvlm.training.receipts import Receipt
    from tinyvlm.training.stages import Optimiser, Schedule, Source, Stage

__all__ = ["History", "NonFiniteLoss", "Optimiser", "Receipt", "Schedule", "Source", "Stage", "fit"]

_HOMES = {
    "history": ("History", "NonFiniteLoss"),
    "loop": ("fit",),
    "receipts": ("Receipt",),
    "stages": ("Optimiser", "Schedule", "Source", "Stage"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
