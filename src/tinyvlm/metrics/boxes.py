"""Boxes: intersection over union, and accuracy of pointing at what an expression means (RefCOCO and its family).

Boxes are (left, top, right, bottom) with exclusive right and bottom ends, in any one unit.
"""

import torch
from jaxtyping import Float64, Real
from torch import Tensor

from tinyvlm.metrics.arguments import checked

FURTHEST = 1e150  # two areas of boxes within it still add up in float64


@checked
def box_iou(first: Real[Tensor, "first 4"], second: Real[Tensor, "second 4"]) -> Float64[Tensor, "first second"]:
    """Intersection over union of every box of `first` with every box of `second`, in [0, 1].

    Computed in float64, so that boxes with whole coordinates meet thresholds exactly. Boxes without area share
    nothing, not even with themselves. ValueError for a box with a coordinate that is not finite or beyond 1e150, whose
    area float64 could not hold, or whose right or bottom lies before its left or top.
    """
    first, second = check_boxes(first, "first"), check_boxes(second, "second").to(first.device)
    shared = intersection(first, second)
    together = box_area(first)[:, None] + box_area(second)[None, :] - shared
    return torch.where(shared > 0, shared / together, 0.0)


@checked
def grounding_accuracy(
    predicted: Real[Tensor, "expressions 4"], truth: Real[Tensor, "_ 4"], threshold: float = 0.5
) -> float:
    """Share of expressions whose predicted box has an IoU of *at least* `threshold` with the true one, in [0, 1].

    predicted, truth: one box per expression. Papers write "IoU > 0.5"; most code, COCO's too, counts exactly 0.5 as a
    hit, and so does this. ValueError for no expressions, numbers of boxes that differ, a threshold outside (0, 1], or
    what `box_iou` refuses.
    """
    if len(predicted) != len(truth) or len(truth) == 0:
        raise ValueError(f"{len(predicted)} predicted and {len(truth)} true boxes: pass the same number, at least one.")
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold={threshold} must lie in (0, 1], 0.5 as usual.")
    # Row by row rather than the diagonal of all pairs: RefCOCO's splits have ten thousand expressions.
    first, second = check_boxes(predicted, "predicted"), check_boxes(truth, "truth").to(predicted.device)
    shared = _overlap(first, second)
    together = box_area(first) + box_area(second) - shared
    return float(((shared > 0) & (shared / together >= threshold)).double().mean())


def box_area(boxes: Float64[Tensor, "boxes 4"]) -> Float64[Tensor, "boxes"]:
    """Width times height."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def intersection(
    first: Float64[Tensor, "first 4"], second: Float64[Tensor, "second 4"]
) -> Float64[Tensor, "first second"]:
    """Area that each box of `first` shares with each of `second`."""
    return _overlap(first[:, None], second[None, :])


def _overlap(first: Tensor, second: Tensor) -> Tensor:
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    return (high - low).clamp(min=0).prod(dim=-1)


def check_boxes(boxes: Real[Tensor, "boxes 4"], name: str) -> Float64[Tensor, "boxes 4"]:
    """The boxes in float64. ValueError naming the first that is no box."""
    boxes = boxes.double()
    # Also False for NaN.
    fine = (boxes.abs() <= FURTHEST).all(dim=1) & (boxes[:, 2:] >= boxes[:, :2]).all(dim=1)
    if not bool(fine.all()):
        row = int((~fine).nonzero()[0])
        raise ValueError(
            f"Box {row} in {name}, {boxes[row].tolist()}, is no box: write (left, top, right, bottom), all "
            f"within {FURTHEST:g}, with left <= right and top <= bottom."
        )
    return boxes
