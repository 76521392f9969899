"""Training: the loop, its stages, checkpoints, and receipts of finished runs."""

from tinyvlm.training.averages import averaged
from tinyvlm.training.history import History, NonFiniteLoss
from tinyvlm.training.loop import fit
from tinyvlm.training.stages import Optimiser, Schedule, Source, Stage

__all__ = ["History", "NonFiniteLoss", "Optimiser", "Schedule", "Source", "Stage", "averaged", "fit"]
