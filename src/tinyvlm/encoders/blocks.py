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
    context_width: int | None = None,
) -> Block:
    """Self-attention, then a feed-forward network, each a residual around a LayerNorm.

    `bias` is that of q, k and v; `dropout` follows every dense layer but those three; `drop` is stochastic depth. With
    `context_width` a cross-attention to tokens of that width stands between the two, a residual called `cross`: give it
    its tokens as `block(x, cross={"context": tokens})`.
    """

    def residual(branch: nn.Module) -> Residual:
        return Residual(nn.LayerNorm(width, eps), branch, placement=placement, drop=drop, dropout=dropout)

    def attention(context: int | None = None) -> Attention:
        return Attention(width, heads, context_width=context, q_bias=bias, k_bias=bias, v_bias=bias)

    branches: dict[str, nn.Module] = {"attention": attention()}
    if context_width is not None:
        branches["cross"] = attention(context_width)
    branches["mlp"] = FeedForward(width, hidden, activation, dropout=dropout)
    return Block(**{name: residual(branch) for name, branch in branches.items()})
