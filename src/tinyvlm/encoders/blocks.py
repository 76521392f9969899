"""The plain Transformer block that most towers of the course share."""

from typing import Literal

from torch import nn

from tinyvlm.layers import Attention, Block, FeedForward, Residual


def transformer_block(
    width: int,
    heads: int,
    hidden: int,
    *,
    activation: str = "gelu",
    eps: float = 1e-5,
    placement: Literal["pre", "post"] = "pre",
    bias: bool = True,
    dropout: float = 0.0,
    drop: float = 0.0,
) -> Block:
    """Self-attention, then a feed-forward network, each a residual around a LayerNorm.

    `bias` is that of q, k and v; `dropout` follows every dense layer but those three; `drop` is stochastic depth.
    """
    attention: nn.Module = Attention(width, heads, q_bias=bias, k_bias=bias, v_bias=bias)
    mlp: nn.Module = FeedForward(width, hidden, activation, dropout=dropout)
    return Block(
        attention=Residual(nn.LayerNorm(width, eps), attention, placement=placement, drop=drop, dropout=dropout),
        mlp=Residual(nn.LayerNorm(width, eps), mlp, placement=placement, drop=drop, dropout=dropout),
    )
