"""Masked language modelling (Devlin et al. 2018, section 3.1): which words are hidden, and the loss on them."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


def uniform_rates(vocabulary: int, reserved: int, rate: float = 0.15) -> Float[Tensor, " vocabulary"]:
    """BERT's rule as a table: every word with the same chance, the first `reserved` ids (special tokens) never."""
    rates = torch.full((vocabulary,), rate)
    rates[:reserved] = 0.0
    return rates


def mask_tokens(
    ids: Int[Tensor, "b n"], rates: Float[Tensor, " vocabulary"], mask_id: int, rng: torch.Generator
) -> tuple[Int[Tensor, "b n"], Bool[Tensor, "b n"]]:
    """Hide words. Returns the corrupted ids and which places were chosen, that is, are to be predicted.

    `rates[id]` is the chance that a token of that id is chosen. Special tokens and padding have rate 0 and are never
    chosen; a caller who wants words with content hidden more often than the words of a template gives them
    higher rates. Of the chosen, 80 % become `mask_id`, 10 % a random word (one with a rate above 0), 10 % stay.

    Raises ValueError when all rates are 0. All draws come from `rng`, on the CPU.
    """
    words = rates.nonzero().flatten()
    if len(words) == 0:
        raise ValueError("mask_tokens: all rates are 0, so that no word can ever be hidden; give words a rate")
    draws = torch.rand(3, *ids.shape, generator=rng).to(ids.device)
    chosen = draws[0] < rates.to(ids.device)[ids]
    other = words.to(ids.device)[(draws[2] * len(words)).long()]
    corrupted = torch.where(draws[1] < 0.8, mask_id, torch.where(draws[1] < 0.9, other, ids))
    return torch.where(chosen, corrupted, ids), chosen


def masked_loss(
    logits: Float[Tensor, "m vocabulary"],
    words: Int[Tensor, " m"],
    teacher: Float[Tensor, "m vocabulary"] | None = None,
    alpha: Float[Tensor, ""] | float = 0.0,
) -> Float[Tensor, " m"]:
    """Cross-entropy of each hidden word: (1 - alpha) CE(word) + alpha CE(softmax(teacher)) (ALBEF, equation 7).

    `logits` are those of the `m` chosen places only: the output layer is the most expensive of a small model.
    """
    hard = F.cross_entropy(logits, words, reduction="none")
    if teacher is None:
        return hard
    soft = F.cross_entropy(logits, teacher.detach().softmax(-1), reduction="none")
    return (1 - alpha) * hard + alpha * soft
