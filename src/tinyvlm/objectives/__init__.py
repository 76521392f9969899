"""Losses as pure functions, and the named modules that hold state beside them. Floor 2."""

from tinyvlm.objectives.contrastive import Gather, alone, gather_with_gradient, info_nce
from tinyvlm.objectives.distillation import momentum_contrast, soft_targets
from tinyvlm.objectives.masking import mask_tokens, masked_loss, uniform_rates
from tinyvlm.objectives.matching import draw_negatives, matching_loss, shuffled_half
from tinyvlm.objectives.momentum import FeatureQueue, Frozen, MomentumTwin

__all__ = [
    "FeatureQueue",
    "Frozen",
    "Gather",
    "MomentumTwin",
    "alone",
    "draw_negatives",
    "gather_with_gradient",
    "info_nce",
    "mask_tokens",
    "masked_loss",
    "matching_loss",
    "momentum_contrast",
    "shuffled_half",
    "soft_targets",
    "uniform_rates",
]
