"""Parts that every model is composed of. Floor 1: imports nothing of tinyvlm but itself."""

from tinyvlm.layers.attention import Attention, record_attention
from tinyvlm.layers.cache import KVCache
from tinyvlm.layers.experts import Experts
from tinyvlm.layers.feedforward import FeedForward
from tinyvlm.layers.masks import Mask
from tinyvlm.layers.patches import PatchEmbedding
from tinyvlm.layers.poolers import AttentionPooler, pool
from tinyvlm.layers.positions import Positions, RelativeBuckets, RelativePositions, resize_grid
from tinyvlm.layers.residual import Block, Residual, Stack

__all__ = [
    "Attention",
    "AttentionPooler",
    "Block",
    "Experts",
    "FeedForward",
    "KVCache",
    "Mask",
    "PatchEmbedding",
    "Positions",
    "RelativeBuckets",
    "RelativePositions",
    "Residual",
    "Stack",
    "pool",
    "record_attention",
    "resize_grid",
]
