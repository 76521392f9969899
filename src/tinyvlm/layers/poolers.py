"""One vector for a sequence."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

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
