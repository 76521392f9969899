"""One vector for a sequence, or a few by attention with learned queries."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tinyvlm.layers.attention import Attention
from tinyvlm.layers.masks import Mask

POOLINGS = ("first", "last", "mean")


def pool(tokens: Float[Tensor, "b n w"], how: str, mask: Bool[Tensor, "b n"] | None = None) -> Float[Tensor, "b w"]:
    """`first` token (a class token), `last` real token (an end-of-text token), or `mean` over real tokens.

    `mask` is True at real tokens; all are real when None.
    """
    if how == "first":
        return tokens[:, 0]
    if how == "last":
        if mask is None:
            return tokens[:, -1]
        # Position of the last True, wherever the padding stands.
        place = torch.arange(mask.shape[1], device=mask.device).mul(mask).amax(1)
        return tokens[torch.arange(len(tokens), device=tokens.device), place]
    if how == "mean":
        if mask is None:
            return tokens.mean(1)
        weight = mask.to(tokens.dtype)
        return torch.einsum("bnw,bn->bw", tokens, weight) / weight.sum(1, keepdim=True).clamp_min(1)
    raise ValueError(f"pool: unknown pooling {how!r}; choose from {', '.join(POOLINGS)}")


class AttentionPooler(nn.Module):
    """Learned queries that attend to a sequence: `queries` tokens come out, however many go in (CoCa, section 3.2).

    Queries and sequence are normalised first, as in open_clip. `context_width` is that of the sequence, `width` by
    default. The queries start as N(0, 1).
    """

    def __init__(self, queries: int, width: int, heads: int, context_width: int | None = None, eps: float = 1e-5):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, width))
        self.norm = nn.LayerNorm(width, eps)
        norm = nn.LayerNorm(context_width or width, eps)
        self.attention = Attention(width, heads, context_width=context_width, context_norm=norm)

    def forward(self, tokens: Float[Tensor, "b n v"], mask: Mask | None = None) -> Float[Tensor, "b queries width"]:
        queries = self.norm(self.queries).expand(len(tokens), -1, -1)
        return self.attention(queries, tokens, mask=mask)
