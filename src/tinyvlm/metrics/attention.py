"""What attention says: how far it reaches (ViT, figure 7 right, appendix D.7), and what a score owes it (Grad-CAM)."""

import torch
from jaxtyping import Float
from torch import Tensor

from tinyvlm.metrics.arguments import checked


@checked
def grid_distances(side: int, patch: int) -> Float[Tensor, "n n"]:
    """Distance in pixels between the centres of all patches of a square grid, row by row.

    ValueError for a side or a patch below 1.
    """
    if side < 1 or patch < 1:
        raise ValueError(f"side={side}, patch={patch}: a grid has at least 1 patch a side, of at least 1 pixel.")
    place = torch.arange(side * side)
    centres = torch.stack([place // side, place % side], 1).double() * patch
    return torch.cdist(centres, centres)


@checked
def attention_distance(weights: Float[Tensor, "b heads n m"], side: int, patch: int) -> Float[Tensor, "heads"]:
    """Mean distance in pixels between a patch and what it attends to, weighted by attention, for each head.

    weights: after the softmax. Tokens in front of the side * side patches (a class token) are left out and the rest of
    each row is brought back to a sum of 1; a row that attends to those tokens alone does not count. ValueError when
    there are fewer tokens than patches, or as for `grid_distances`.
    """
    between, patches = grid_distances(side, patch), side * side
    if min(weights.shape[-2:]) < patches:
        raise ValueError(
            f"attention of shape {list(weights.shape)} has fewer tokens than the {patches} patches of a grid of side "
            f"{side}: pass the side of the picture that was encoded"
        )
    among = weights[..., -patches:, -patches:].double()
    total = among.sum(-1)
    reach = (among * between.to(among)).sum(-1) / total.clamp_min(1e-12)
    counted = (total > 1e-12).double()
    return ((reach * counted).sum((0, 2)) / counted.sum((0, 2)).clamp_min(1)).float()


@checked
def grad_cam(weights: Float[Tensor, "b heads n m"], score: Float[Tensor, " b"]) -> Float[Tensor, "b n m"]:
    """Attention that raised the score: mean over heads of relu(weights * d score / d weights).

    As in ALBEF, figure 4, after Selvaraju et al. 2017. weights: recorded with `record_attention(model, graph=True)`;
    score: computed from them, one number an example. ValueError for a score that does not depend on the weights.
    """
    gradient = None
    if weights.requires_grad and score.requires_grad:
        (gradient,) = torch.autograd.grad(score.sum(), weights, retain_graph=True, allow_unused=True)
    if gradient is None:
        raise ValueError(
            "The score does not depend on these weights, so they have no gradient: record them in the pass that gives "
            "the score, with record_attention(model, graph=True)."
        )
    return (weights * gradient).relu().mean(1).detach()
