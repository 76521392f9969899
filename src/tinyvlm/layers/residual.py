"""A block is a list of residuals; the list is where a reader sees what a paper changed.

    Block(attention=Residual(LayerNorm(w), Attention(w, h)), mlp=Residual(LayerNorm(w), FeedForward(w, 4 * w)))

is ViT. Add `cross=Residual(..., Attention(w, h, context_width=v))` between the two and it is ALBEF's fusion block;
give that residual a `gate` and it is Flamingo's.
"""

from collections.abc import Sequence
from typing import Literal, cast

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
        scale: LayerScale, a learned vector that starts at this value (BEiT: 0.1), as wide as the norm's weight; or
            that starts as this vector, where the branch owns its norm (VLMo's experts).
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
        scale: float | Float[Tensor, " w"] | None = None,
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
        self.scale = None if scale is None else nn.Parameter(_layer_scale(scale, norm))

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


def _layer_scale(scale: float | Tensor, norm: nn.Module) -> Tensor:
    if isinstance(scale, Tensor):
        return scale.detach().clone()
    weight = getattr(norm, "weight", None)
    if weight is None:
        raise ValueError(
            "Residual: a number as scale needs a norm with a weight, which says the width; give a vector instead"
        )
    return torch.full_like(weight.detach(), scale)


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
    """Blocks one after another. Each is given those of the inputs whose residual it has.

    So every fourth block may have a `cross`. Inputs that differ from block to block are `each`, one {residual name:
    its inputs} per block (a bias of each layer's own), and `caches`, one {residual name: cache} per block.

    Raises ValueError for an input that no block has, and for an `each` or `caches` of another length.
    """

    def forward(
        self,
        x: Float[Tensor, "b n w"],
        caches: Sequence[dict] | None = None,
        each: Sequence[dict] | None = None,
        **inputs: dict,
    ) -> Float[Tensor, "b n w"]:
        blocks = [cast(Block, block) for block in self]
        strangers = [name for name in inputs if blocks and not any(name in block for block in blocks)]
        if strangers:
            known = ", ".join(dict.fromkeys(name for block in blocks for name in block))
            raise ValueError(f"Stack: no block has a residual named {', '.join(strangers)}; its blocks have {known}")
        for what, given in (("caches", caches), ("each", each)):
            if given is not None and len(given) != len(blocks):
                raise ValueError(f"Stack: {what} has {len(given)} entries for {len(blocks)} blocks; give one per block")
        for depth, block in enumerate(blocks):
            own = {name: given for name, given in inputs.items() if name in block}
            for name, given in (each[depth] if each else {}).items():
                own[name] = {**own.get(name, {}), **given}
            for name, cache in (caches[depth] if caches else {}).items():
                own[name] = {**own.get(name, {}), "cache": cache}
            x = block(x, **own)
        return x
