"""Image-text retrieval: Recall@K in both directions, with any number of captions per image.

Image to text, a query is a hit if *any* caption of the image is among the K best; text to image, its single image must
be. The two directions have different denominators (COCO 5k: 5,000 images, about 25,000 captions).
Ties count against the model: a candidate that scores as high as the right one is placed before it, so that a model
which gives every pair the same score retrieves nothing.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int, Integer, Real
from torch import Tensor

from tinyvlm.metrics.arguments import checked


class Recall(NamedTuple):
    """Shares of queries answered among the K best, each in [0, 1]."""

    image_to_text: float
    text_to_image: float

    @property
    def mean(self) -> float:
        """Mean of the two directions."""
        return (self.image_to_text + self.text_to_image) / 2


@checked
def ranks(
    scores: Real[Tensor, "queries candidates"], relevant: Bool[Tensor, "queries candidates"]
) -> Int[Tensor, "queries"]:
    """Rank (1 = first) of the best relevant candidate of each query, ties counted against it.

    scores: any real dtype and device, higher is better. relevant: True where a candidate answers the query.
    Counting the irrelevant candidates that are at least as good gives the rank in one pass, without sorting.
    ValueError if a score is NaN or a query has no relevant candidate.
    """
    _check_scores(scores)
    relevant = relevant.to(scores.device)
    if not bool(relevant.any(dim=1).all()):
        missing = int((~relevant.any(dim=1)).nonzero()[0])
        raise ValueError(f"Query {missing} has no relevant candidate: leave it out, or mark its answer in `relevant`.")
    values = scores if scores.is_floating_point() else scores.double()
    best = values.masked_fill(~relevant, -torch.inf).amax(dim=1, keepdim=True)
    return 1 + ((values >= best) & ~relevant).sum(dim=1, dtype=torch.int32)  # int32 sums six times as fast as int64


@checked
def recall_at_k(
    scores: Real[Tensor, "images captions"],
    k: int = 1,
    image_of_caption: Integer[Tensor, "captions"] | None = None,
) -> Recall:
    """Recall@K both ways.

    scores: similarity of every image (row) with every caption (column), higher is better.
    image_of_caption: row number of each caption's image; without it caption i belongs to image i.
    A direction with at most K candidates is 1 by definition. ValueError if the matrix is not square without
    `image_of_caption`, if an image has no caption, if K is below 1 or above the number of candidates in both
    directions, or if a score is NaN.
    """
    _check_scores(scores)
    images, captions = scores.shape
    if image_of_caption is None:
        if images != captions:
            raise ValueError(
                f"{images} images and {captions} captions cannot be paired one to one: "
                "pass image_of_caption, the row number of each caption's image."
            )
        image_of_caption = torch.arange(images, device=scores.device)
    owner = image_of_caption.to(scores.device).long()
    if bool((owner < 0).any()) or bool((owner >= images).any()):
        raise ValueError(f"image_of_caption must lie in [0, {images - 1}], the rows of scores; mend what lies outside.")
    most = max(images, captions)
    if not 1 <= k <= most:
        raise ValueError(f"k={k} with {images} images and {captions} captions: choose k from 1 to {most}.")
    captions_of_image = owner.bincount(minlength=images)
    if not bool(captions_of_image.all()):
        missing = int((captions_of_image == 0).nonzero()[0])
        raise ValueError(f"Image {missing} has no caption: leave it out, or mend image_of_caption.")
    # As `ranks`, without its mask of the size of `scores`: count all candidates at least as good, less the right ones.
    values = scores.detach() if scores.is_floating_point() else scores.double()
    own = values[owner, torch.arange(captions, device=scores.device)]
    best = values.new_full((images,), -torch.inf).scatter_reduce(0, owner, own, "amax")
    as_good = owner[own == best[owner]].bincount(minlength=images)
    rank_of_text = 1 + _count_at_least(values, best[:, None], dim=1) - as_good
    rank_of_image = _count_at_least(values, own[None, :], dim=0)  # the right one counts itself
    return Recall(image_to_text=_share(rank_of_text <= k), text_to_image=_share(rank_of_image <= k))


def _count_at_least(
    scores: Real[Tensor, "images captions"], bound: Real[Tensor, "_ _"], dim: int
) -> Int[Tensor, "queries"]:
    """How many scores reach the bound, along one axis. Comparing into float32 and adding that up is many times faster
    than counting booleans, and exact for fewer than 2^24 candidates."""
    reached = torch.empty(scores.shape, dtype=torch.float32, device=scores.device)
    return torch.ge(scores, bound, out=reached).sum(dim=dim).long()


def _share(hits: Bool[Tensor, "queries"]) -> float:
    return float(hits.double().mean())


def _check_scores(scores: Tensor) -> None:
    if scores.numel() == 0:
        raise ValueError(f"scores of shape {tuple(scores.shape)} are empty: pass at least one query and one candidate.")
    if bool(scores.max().isnan()):  # the maximum of anything with a NaN is NaN, and costs a tenth of a mask
        raise ValueError("scores hold NaN, which compares as neither better nor worse: find the step that produced it.")
