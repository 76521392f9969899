"""Average precision of boxes as COCO measures it.

A detection is right if it overlaps a true box of its class enough that no better-scored detection has taken already.
"Enough" is ten thresholds from 0.50 to 0.95, so boxes that fit better score higher, and precision is averaged over 101
recalls, over thresholds, and over classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Integer, Real
from torch import Tensor

from tinyvlm.metrics.arguments import checked
from tinyvlm.metrics.boxes import box_area, check_boxes, intersection
from tinyvlm.metrics.ranking import RECALLS, at_recalls, envelope

THRESHOLDS = np.linspace(0.5, 0.95, 10)
MOST = (1, 10, 100)
ABSENT = -1.0
SMALL, MEDIUM, LARGE = (0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, 1e10)  # COCO's ranges of areas in pixels


@dataclass(frozen=True)
class TrueBoxes:
    """What one picture shows: boxes [n, 4] as (left, top, right, bottom), classes int [n], crowd bool [n] or None.

    A crowd is a region that holds many things of its class: a detection inside it is neither right nor wrong.
    """

    boxes: Tensor
    classes: Tensor
    crowd: Tensor | None = None


@dataclass(frozen=True)
class DetectedBoxes:
    """What a model found in one picture: boxes [n, 4] as (left, top, right, bottom), classes int [n], scores [n]."""

    boxes: Tensor
    classes: Tensor
    scores: Tensor


@dataclass(frozen=True)
class BoxAP:
    """COCO's summary, each number in [0, 1], or -1 where no class has a true box to find.

    ap: over all thresholds; ap50, ap75: at one. ar1, ar10, ar100: recall, averaged over thresholds and classes, with
    that many detections per picture and class. per_class: each class's ap, -1 for a class that no picture shows.
    """

    ap: float
    ap50: float
    ap75: float
    ar1: float
    ar10: float
    ar100: float
    per_class: dict[int, float]


def box_average_precision(
    detected: Sequence[DetectedBoxes],
    truth: Sequence[TrueBoxes],
    area: tuple[float, float] = (0.0, 1e10),
) -> BoxAP:
    """COCO box AP and AR of a data set (Lin et al., ECCV 2014; `COCOeval` of pycocotools).

    detected, truth: one entry per picture, in the same order. area: true boxes with another area are ignored like
    crowds, and so are detections outside it that match nothing; `SMALL`, `MEDIUM` and `LARGE` are COCO's, whose area
    is the object's, here the box's. Per picture and class at most 100 detections count, highest score first. Each takes
    the true box that it overlaps most among those still free, if IoU reaches the threshold; with a crowd, IoU is the
    share of the *detection* that lies inside. Equal scores keep the order in which they were passed. Classes are those
    that occur; a class without a true box is left out of the means.
    ValueError for no pictures or an empty area range, and, naming the picture, for dtypes or shapes other than above,
    lengths that differ, NaN scores, or boxes that are none; `torch.tensor([])` is no boxes.
    """
    if len(detected) != len(truth) or len(truth) == 0:
        raise ValueError(f"{len(detected)} and {len(truth)} pictures: pass both sides of each, and at least one.")
    if not area[0] < area[1]:
        raise ValueError(f"area={area} is empty: pass the smallest and the largest area, as SMALL does.")
    pictures = [_picture(d, t, number) for number, (d, t) in enumerate(zip(detected, truth, strict=True))]
    classes = sorted({int(c) for d, t in pictures for c in (*d[1], *t[1])})
    precision = np.full((len(THRESHOLDS), len(RECALLS), len(classes)), ABSENT)
    recall = np.full((len(THRESHOLDS), len(classes), len(MOST)), ABSENT)
    for k, number in enumerate(classes):
        matches = [_match(d, t, number, area) for d, t in pictures]
        for m, most in enumerate(MOST):
            curve = _accumulate(matches, most)
            if curve is not None:  # the last one, with 100 detections, is what precision counts
                precision[:, :, k], recall[:, k, m] = curve
    return BoxAP(
        ap=_mean(precision),
        ap50=_mean(precision[0]),
        ap75=_mean(precision[5]),
        ar1=_mean(recall[:, :, 0]),
        ar10=_mean(recall[:, :, 1]),
        ar100=_mean(recall[:, :, 2]),
        per_class={number: _mean(precision[:, :, k]) for k, number in enumerate(classes)},
    )


_Found = tuple[Tensor, np.ndarray, np.ndarray]  # boxes, classes, scores
_Shown = tuple[Tensor, np.ndarray, np.ndarray]  # boxes, classes, crowd
_Matches = tuple[np.ndarray, np.ndarray, np.ndarray, int]


def _picture(detected: DetectedBoxes, truth: TrueBoxes, number: int) -> tuple[_Found, _Shown]:
    """Both sides of one picture, checked, on the CPU."""
    try:
        return (
            _detections(detected.boxes, detected.classes, detected.scores),
            _truth(truth.boxes, truth.classes, truth.crowd),
        )
    except ValueError as error:
        raise ValueError(f"Picture {number}: {error}") from error


@checked
def _detections(boxes: Real[Tensor, "n 4"], classes: Integer[Tensor, "_"], scores: Real[Tensor, "_"]) -> _Found:
    if not len(boxes) == len(classes) == len(scores):
        raise ValueError("detected boxes, classes and scores are of different numbers: pass one each per box.")
    if bool(scores.isnan().any()):
        raise ValueError("scores hold NaN, which has no place in an order: find its source.")
    found = check_boxes(boxes.detach().cpu(), "the detections")
    return found, classes.cpu().numpy(), scores.detach().double().cpu().numpy()


@checked
def _truth(boxes: Real[Tensor, "n 4"], classes: Integer[Tensor, "_"], crowd: Bool[Tensor, "_"] | None) -> _Shown:
    crowd = torch.zeros(len(boxes), dtype=torch.bool) if crowd is None else crowd
    if not len(boxes) == len(classes) == len(crowd):
        raise ValueError("true boxes, classes and crowd are of different numbers: pass one each.")
    return check_boxes(boxes.detach().cpu(), "the truth"), classes.cpu().numpy(), crowd.cpu().numpy()


def _match(found: _Found, shown: _Shown, number: int, area: tuple[float, float]) -> _Matches | None:
    """Greedy matching in one picture for one class: scores [D], right bool [T, D], ignored bool [T, D], and how many
    true boxes there are to find. None if the class is neither shown nor found."""
    here = np.flatnonzero(found[1] == number)
    here = here[np.argsort(-found[2][here], kind="stable")[: max(MOST)]]
    there = np.flatnonzero(shown[1] == number)
    if len(here) == 0 and len(there) == 0:
        return None
    boxes, true, crowd = found[0][here], shown[0][there], shown[2][there]
    areas, true_areas = box_area(boxes), box_area(true)
    shared = intersection(boxes, true)
    together = torch.where(torch.from_numpy(crowd), areas[:, None], areas[:, None] + true_areas - shared)
    iou = torch.where(shared > 0, shared / together, 0.0).numpy()
    ignored_truth = crowd | _outside(true_areas, area)
    shape = (len(THRESHOLDS), len(here))
    matched, ignored = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    taken = np.zeros((len(THRESHOLDS), len(there)), dtype=bool)
    rows = np.arange(len(THRESHOLDS))
    # A hair below 1, so that no rounding keeps a perfect box from matching at a threshold of 1.
    enough = np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
    for d in range(len(here) if len(there) else 0):
        free = ~taken | crowd  # any number of detections may lie in a crowd
        overlap = np.where(free & (iou[d] >= enough), iou[d], ABSENT)
        regular = np.where(ignored_truth, ABSENT, overlap)
        # What is to be ignored is only taken where nothing else fits.
        overlap = np.where(regular.max(axis=1, keepdims=True) > 0, regular, overlap)
        best = len(there) - 1 - overlap[:, ::-1].argmax(axis=1)  # COCO keeps the last of equally good ones
        hit = overlap[rows, best] > 0
        matched[:, d] = hit
        ignored[:, d] = hit & ignored_truth[best]
        taken[rows[hit], best[hit]] = True
    ignored |= ~matched & _outside(areas, area)
    return found[2][here], matched & ~ignored, ignored, int((~ignored_truth).sum())


def _outside(areas: Tensor, area: tuple[float, float]) -> np.ndarray:
    return ((areas < area[0]) | (areas > area[1])).numpy()


def _accumulate(matches: Sequence[_Matches | None], most: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Precision at the 101 recalls [T, 101] and final recall [T] of one class; None if there is nothing to find."""
    pictures = [entry for entry in matches if entry is not None]
    to_find = sum(entry[3] for entry in pictures)
    if to_find == 0:
        return None
    order = np.argsort(-np.concatenate([entry[0][:most] for entry in pictures]), kind="stable")
    right = np.concatenate([entry[1][:, :most] for entry in pictures], axis=1)[:, order]
    counted = ~np.concatenate([entry[2][:, :most] for entry in pictures], axis=1)[:, order]
    hits, seen = right.cumsum(axis=1), counted.cumsum(axis=1)
    recall = hits / to_find
    precision = hits / np.maximum(1, seen)
    points = np.stack([at_recalls(r, envelope(p)) for r, p in zip(recall, precision, strict=True)])
    return points, recall[:, -1] if len(order) else np.zeros(len(THRESHOLDS))


def _mean(values: np.ndarray) -> float:
    present = values[values > ABSENT]
    return float(present.mean()) if present.size else ABSENT
