"""Soft targets: learning from another network's distribution as well as from the label."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def soft_targets(
    teacher: Float[Tensor, "b c"], target: Int[Tensor, " b"], alpha: Float[Tensor, ""] | float
) -> Float[Tensor, "b c"]:
    """alpha softmax(teacher logits) + (1 - alpha) one-hot(target), without gradient (ALBEF, equation 6)."""
    hard = F.one_hot(target, teacher.shape[1]).to(teacher)
    return (alpha * teacher.softmax(-1) + (1 - alpha) * hard).detach()


def momentum_contrast(
    queries: Float[Tensor, "b d"],
    keys: Float[Tensor, "candidates d"],
    scale: Float[Tensor, ""] | float,
    target: Int[Tensor, " b"],
    teacher_queries: Float[Tensor, "b d"] | None = None,
    alpha: Float[Tensor, ""] | float = 0.0,
) -> Float[Tensor, " b"]:
    """One direction of contrast against a teacher's features (MoCo, equation 1; with soft targets ALBEF, equation 6).

    Args:
        queries: the student's features of one modality, L2-normalised.
        keys: the teacher's features of the other modality, this batch's and a queue's; no gradient reaches them.
        scale: inverse temperature, the student's for both.
        target: the place of each query's own partner among the keys.
        teacher_queries, alpha: the teacher's features of the queries' modality, and the weight of what it says.

    Known answers: equal features everywhere give ln(candidates), whatever alpha; the symmetric mean of two such losses
    with the student's own features as keys and alpha 0 is InfoNCE.
    """
    keys = keys.detach()
    logits = scale * queries @ keys.T
    if teacher_queries is None:
        return F.cross_entropy(logits, target, reduction="none")
    with torch.no_grad():
        targets = soft_targets(scale * teacher_queries @ keys.T, target, alpha)
    return F.cross_entropy(logits, targets, reduction="none")
