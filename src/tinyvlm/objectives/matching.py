"""Image-text matching: does this caption belong to this picture? And which wrong captions are worth asking about."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


def shuffled_half(same: Bool[Tensor, "b b"], rng: torch.Generator) -> tuple[Int[Tensor, " b"], Bool[Tensor, " b"]]:
    """Captions for a balanced matching loss (Pixel-BERT, section 3.3): half of the rows keep theirs, half get others'.

    Returns whose caption row i reads, and whether it belongs to picture i. `same[i, j]` says that caption j is true of
    picture i too (the diagonal at least): a row that draws such a caption is matched after all.
    """
    b = len(same)
    other = (torch.arange(b) + torch.randint(1, max(b, 2), (b,), generator=rng)) % b
    kept = torch.randperm(b, generator=rng) < (b + 1) // 2
    owner = torch.where(kept, torch.arange(b), other).to(same.device)
    return owner, same[torch.arange(b, device=same.device), owner]


def draw_negatives(
    similarity: Float[Tensor, "b c"], forbidden: Bool[Tensor, "b c"], uniforms: Float[Tensor, " b"]
) -> Int[Tensor, " b"]:
    """One negative a row, drawn with probability softmax(similarity) among what is not forbidden (ALBEF, section 3.2).

    The draw turns `uniforms` (in [0, 1)) into places by the inverse of the cumulative distribution, all rows at once.
    Constant similarities make it uniform. Forbidden entries are left out *before* the softmax: when a model is sure of
    the true pair, what is left after it rounds to zero, and there would be nothing to draw from.

    Raises ValueError when a row has nothing but forbidden entries (checked on the CPU only: reading it would stall a
    GPU, which then takes the first entry, forbidden as it is).
    """
    if similarity.device.type == "cpu" and forbidden.all(1).any():
        row = int(forbidden.all(1).nonzero()[0])
        raise ValueError(
            f"draw_negatives: row {row} has no admissible negative among {forbidden.shape[1]} candidates, all of which "
            "match; enlarge the batch"
        )
    chance = similarity.detach().float().masked_fill(forbidden, -torch.inf).softmax(1)
    # Apple's GPUs know no float64.
    exact, below = (torch.float32, 1 - 1e-6) if chance.device.type == "mps" else (torch.float64, 1 - 1e-9)
    ends = chance.to(exact).cumsum(1)
    # Below the row's total even when the uniform is the largest float under 1.
    target = uniforms.to(ends).unsqueeze(1) * ends[:, -1:] * below
    return (ends <= target).sum(1).clamp_max(similarity.shape[1] - 1)


def matching_loss(logits: Float[Tensor, "b 2"], matched: Bool[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Two-way cross-entropy per pair; class 1 is "they belong together". Known answer: equal logits give ln 2."""
    return F.cross_entropy(logits, matched.long(), reduction="none")
