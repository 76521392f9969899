"""Losses as pure functions. Floor 2."""

from tinyvlm.objectives.contrastive import Gather, alone, gather_with_gradient, info_nce

__all__ = ["Gather", "alone", "gather_with_gradient", "info_nce"]
