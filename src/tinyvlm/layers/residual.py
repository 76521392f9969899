"""A block is a list of residuals; the list is where a reader sees what a paper changed.

    Block(attention=Residual(LayerNorm(w), Attention(w, h)), mlp=Residual(LayerNorm(w), FeedForward(w, 4 * w)))

is ViT. Add `cross=Residual(..., Attention(w, h, context_width=v))` between the two and it is ALBEF's fusion block;
give that residual a `gate` and it is Flamingo's.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Residual(nn.Module):
    """x + branch(norm(x)) (`pre`), or norm(x + branch(x)) (`post`), with what papers put around the branch.

    Args:
        norm: normalisation of width w.
        branch: any module [b, n, w] -> [b, n, w]; keyword arguments of `forward` are handed to it.
        placement: "pre" (GPT, ViT, CLIP) or "post" (BERT).
        gate: multiply the branch by tanh(alpha), alpha a learned scalar that starts at 0 (Flamingo).
        scale: LayerScale, a learned vector that starts at this value (BEiT: 0.1).
        drop: stochastic depth, the chance that a sample skips the branch in training.
        dropout: on the branch's output, in training (Vaswani et al. 2017, section 5.4).
    """

    def __init__(
        self,
        norm: nn.Module,
        branch: nn.Module,
        *,
        placement: Literal["pre", "post"] = "pre",
        gate: bool = False,
        scale: float | None = None,
        drop: float = 0.0,
        dropout: float = 0.0,
    ):
        super().__init__()
        if placement not in ("pre", "post"):
            raise ValueError(f"Residual: placement is {placement!r}; choose 'pre' or 'post'")
        if not 0.0 <= drop < 1.0:
            raise ValueError(f"Residual: drop is {drop}; it is a probability in [0, 1)")
        self.norm, self.branch, self.placement, self.drop = norm, branch, placement, drop
        self.dropout = nn.Dropout(dropout)
        self.gate = nn.Parameter(torch.zeros(())) if gate else None
        weight = getattr(norm, "weight", None)
        if scale is not None and weight is None:
            raise ValueError("Residual: scale needs a norm with a weight, from which it takes the width")
        self.scale = nn.Parameter(torch.full_like(weight, scale)) if scale is not None and weight is not None else None

    def forward(self, x: Float[Tensor, "b n w"], **inputs: object) -> Float[Tensor, "b n w"]:
        pre = self.placement == "pre"
        y = self.dropout(self.branch(self.norm(x) if pre else x, **inputs))
        if self.scale is not None:
            y = self.scale * y
        if self.gate is not None:
            y = self.gate.tanh() * y
        if self.drop and self.training:
            keep = torch.rand(y.shape[0], 1, 1, device=y.device) >= self.drop
            y = y * keep / (1 - self.drop)
        return x + y if pre else self.norm(x + y)


class Block(nn.ModuleDict):
    """Named residuals, applied in order. A branch gets its inputs under its name: `block(x, cross={"context": v})`."""

    def __init__(self, **residuals: Residual):
        super().__init__(residuals)

    def forward(self, x: Float[Tensor, "b n w"], **inputs: dict) -> Float[Tensor, "b n w"]:
        strangers = [name for name in inputs if name not in self]
        if strangers:
            raise ValueError(
                f"Block: no residual named {', '.join(strangers)}; this block has {', '.join(self.keys())}"
            )
        for name, residual in self.items():
            x = residual(x, **inputs.get(name, {}))
        return x


class Stack(nn.ModuleList):
    """Blocks one after another, all given the same inputs, except `caches`: one {residual name: cache} per block."""

    def forward(
        self, x: Float[Tensor, "b n w"], caches: list[dict] | None = None, **inputs: dict
    ) -> Float[Tensor, "b n w"]:
        for depth, block in enumerate(self):
            own = dict(inputs)
            for name, cache in (caches[depth] if caches else {}).items():
                own[name] = {**own.get(name, {}), "cache": cache}
            x = block(x, **own)
        return x
