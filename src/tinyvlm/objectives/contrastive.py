"""Symmetric InfoNCE, the loss of dual encoders (Radford et al. 2021, figure 3; van den Oord et al. 2018, eq. 4)."""

from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

# Makes the candidates of all processes out of this process's rows, and says at which row its own begin.
Gather = Callable[[Tensor], tuple[Tensor, int]]


def alone(rows: Tensor) -> tuple[Tensor, int]:
    """The gathering of a single process: its own rows."""
    return rows, 0


class _AllGather(torch.autograd.Function):
    """all_gather whose backward adds what every process's loss says about this process's rows."""

    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:  # type: ignore[override]
        ctx.count = rows.shape[0]
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[override]
        # A copy, because autograd may hand the same tensor to other branches; gloo has no reduce_scatter.
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        first = dist.get_rank() * ctx.count
        return gradient[first : first + ctx.count]


def gather_with_gradient(rows: Float[Tensor, "b d"]) -> tuple[Float[Tensor, "candidates d"], int]:
    """Rows of all processes in rank order (equal counts), differentiable: see `_AllGather`.

    Without the gradient through the other processes' losses, a rank would train its features only as queries, never
    as candidates, and the sum would no longer be the full batch's loss. Alone when no process group is running.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return alone(rows)
    return _AllGather.apply(rows), dist.get_rank() * len(rows)


def info_nce(
    image: Float[Tensor, "b d"],
    text: Float[Tensor, "b d"],
    scale: Float[Tensor, ""] | float,
    *,
    negatives: Float[Tensor, "b n d"] | None = None,
    admitted: Bool[Tensor, "b n"] | None = None,
    gather: Gather = alone,
) -> Float[Tensor, " b"]:
    """Loss per pair: the mean of image -> text and text -> image cross-entropy, row i matching row i.

        1/2 [ CE(scale * image @ text.T, i) + CE(scale * text @ image.T, i) ]

    Args:
        image, text: L2-normalised embeddings; rows of one pair correspond.
        scale: inverse temperature; cosines are multiplied by it.
        negatives: further captions offered to image i alone (hard negatives), `admitted` where they exist.
        gather: makes all processes' candidates from these rows.

    Known answers: equal embeddings everywhere give ln N; the identity at scale 1/0.07 and N = 4 gives 1.9e-6.

    Raises ValueError on a single pair, from which nothing can be learnt (its loss is 0 whatever the model does).
    """
    texts, first = gather(text)
    images, _ = gather(image)
    if len(texts) < 2:
        raise ValueError(
            "info_nce: the batch holds 1 pair, and a contrastive loss needs at least 2 to tell apart; "
            "enlarge the batch or drop the last incomplete one"
        )
    target = torch.arange(first, first + len(image), device=image.device)
    image_logits = scale * image @ texts.T
    if negatives is not None:
        own = scale * torch.einsum("bd,bnd->bn", image, negatives)
        if admitted is not None:
            own = own.masked_fill(~admitted, -torch.inf)
        image_logits = torch.cat([image_logits, own], dim=1)
    text_logits = scale * text @ images.T
    return (
        F.cross_entropy(image_logits, target, reduction="none") + F.cross_entropy(text_logits, target, reduction="none")
    ) / 2
