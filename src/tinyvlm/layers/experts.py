"""One branch for each kind of token (VLMo, arXiv 2111.02358, section 3.1)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Experts(nn.ModuleDict):
    """Named branches of which each token passes one; which one, its place in the sequence says.

        Experts(vision=FeedForward(w, h), text=FeedForward(w, h))(x, route=[("text", 20), ("vision", 17)])

    sends the first 20 tokens through one and the other 17 through the other. Nothing is learned about the route. An
    expert that the route leaves out is not run and gets no gradient.
    """

    def __init__(self, **experts: nn.Module):
        super().__init__(experts)

    def forward(self, x: Float[Tensor, "b n w"], route: Sequence[tuple[str, int]]) -> Float[Tensor, "b n v"]:
        """`route` names the expert of each stretch of tokens, and its length. ValueError where it does not fit."""
        strangers = [name for name, _ in route if name not in self]
        if strangers:
            raise ValueError(f"Experts: no expert named {', '.join(strangers)}; choose from {', '.join(self)}")
        lengths = [length for _, length in route]
        if sum(lengths) != x.shape[1]:
            raise ValueError(f"Experts: the route covers {sum(lengths)} of {x.shape[1]} tokens; give each one expert")
        parts = zip(route, x.split(lengths, dim=1), strict=True)
        return torch.cat([self[name](part) for (name, _), part in parts], dim=1)
