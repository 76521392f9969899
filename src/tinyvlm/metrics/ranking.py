"""One list of scores for a yes-or-no question: ROC AUC, and average precision in its several readings.

Equal scores share one place in the list, so the order in which examples are passed never matters and a constant score
wins nothing: its ROC AUC is 1/2, its average precision the share of positives.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Real
from torch import Tensor

from tinyvlm.metrics.arguments import checked

Rule = Literal["all-point", "11-point", "101-point", "step"]
RULES: tuple[Rule, ...] = ("all-point", "11-point", "101-point", "step")
RECALLS = np.linspace(0.0, 1.0, 101)  # COCO's recall thresholds, with its rounding


@checked
def roc_auc(scores: Real[Tensor, "examples"], labels: Real[Tensor, "_"]) -> float:
    """Probability that a random positive scores higher than a random negative, ties counting 1/2: in [0, 1].

    scores: any real numbers, higher means positive. labels: 1 or True for positives, 0 or False for the others. It is
    the area under the ROC curve (Mann and Whitney, 1947; Hanley and McNeil, 1982). ValueError where there are only
    positives or only negatives, for which it is undefined, for lengths that differ, or NaN scores.
    """
    positive = _check(scores, labels)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if positives == 0 or negatives == 0:
        kind = "positive" if positives else "negative"
        raise ValueError(f"Every label is {kind}, so ROC AUC is undefined: pass examples of both kinds.")
    _, place, size = scores.unique(return_inverse=True, return_counts=True)
    # Ranks from 1, lowest score first; equal scores share the mean of the ranks they cover.
    rank = size.double().cumsum(0) - (size.double() - 1) / 2
    total = float(rank[place][positive].sum())
    return (total - positives * (positives + 1) / 2) / (positives * negatives)


@checked
def average_precision(scores: Real[Tensor, "examples"], labels: Real[Tensor, "_"], rule: Rule = "all-point") -> float:
    """Precision averaged over recall, in [0, 1].

    scores, labels: as for `roc_auc`. rule: which precision counts at which recall.
    "all-point": area under the curve whose precision at a recall is the best at that recall or beyond (VOC 2010+).
    "11-point": mean of that best precision at recall 0, 0.1, ..., 1 (VOC 2007), the recalls compared exactly.
    "101-point": mean of it at recall 0, 0.01, ..., 1 (COCO), with COCO's rounding.
    "step": area without looking beyond; lower or equal, and what scikit-learn calls average precision.
    ValueError for no positive, an unknown rule, lengths that differ, or NaN scores.
    """
    positive = _check(scores, labels)
    if rule not in RULES:
        raise ValueError(f"Unknown rule {rule!r}: choose one of {', '.join(RULES)}.")
    positives = int(positive.sum())
    if positives == 0:
        raise ValueError("No label is positive, so recall and average precision are undefined: pass some positives.")
    _, place = scores.unique(return_inverse=True)
    groups = int(place.max()) + 1
    # Highest score first; all examples of one score are let in together.
    hits = torch.bincount(place[positive], minlength=groups).flip(0).cumsum(0).cpu().numpy()
    let_in = torch.bincount(place, minlength=groups).flip(0).cumsum(0).cpu().numpy()
    precision = hits / let_in
    if rule != "step":
        precision = envelope(precision)
    if rule == "11-point":
        # In whole numbers: 3/10 as a fraction of positives lies below the float 0.30000000000000004.
        at = np.searchsorted(10 * hits, np.arange(11) * positives, side="left")
        return float(np.append(precision, 0.0)[at].mean())
    if rule == "101-point":
        return float(at_recalls(hits / positives, precision).mean())
    return float((np.diff(hits, prepend=0) * precision).sum() / positives)


@checked
def mean_average_precision(
    scores: Real[Tensor, "examples classes"], labels: Real[Tensor, "_ _"], rule: Rule = "11-point"
) -> float:
    """Mean over classes of `average_precision`, in [0, 1]: VOC 2007's classification metric with its 11 points.

    scores: each class's score for each example. labels: 1 where the example shows that class; several classes may be
    right. ValueError for shapes that differ, a class without positives (leave its column out), or as above.
    """
    if scores.shape != labels.shape or scores.shape[1] == 0:
        raise ValueError(
            f"scores has shape {tuple(scores.shape)} and labels {tuple(labels.shape)}: "
            "pass both as [examples, classes], with at least one class."
        )
    empty = (~labels.bool().any(dim=0)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"Classes {empty} have no positive example: leave their columns out.")
    return float(np.mean([average_precision(s, y, rule) for s, y in zip(scores.T, labels.T, strict=True)]))


def envelope(precision: np.ndarray) -> np.ndarray:
    """At each place the highest precision from there on."""
    return np.maximum.accumulate(precision[::-1])[::-1]


def at_recalls(recall: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Precision at COCO's 101 recalls: that of the first place whose recall reaches them, 0 where none does."""
    return np.append(precision, 0.0)[np.searchsorted(recall, RECALLS, side="left")]


def _check(scores: Tensor, labels: Tensor) -> Tensor:
    """Which examples are positive."""
    if len(scores) != len(labels) or len(labels) == 0:
        raise ValueError(f"{len(scores)} scores and {len(labels)} labels: pass the same number of both, at least one.")
    if bool(scores.isnan().any()):
        raise ValueError("scores hold NaN, which compares as neither better nor worse: find the step that produced it.")
    labels = labels.to(scores.device)
    if not bool(((labels == 0) | (labels == 1)).all()):
        raise ValueError("labels must hold 0 and 1 only, 1 for positives: write them so.")
    return labels == 1
