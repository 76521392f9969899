"""Classification: top-k accuracy and accuracy averaged over classes.

They differ when classes are unequal: always answering the largest class looks good on the first and bad on the second.
"""

import torch
from jaxtyping import Integer, Real
from torch import Tensor

from tinyvlm.metrics.arguments import checked


@checked
def accuracy(predicted: Integer[Tensor, "examples"], labels: Integer[Tensor, "examples"]) -> float:
    """Share of examples whose predicted class is the label, in [0, 1]. ValueError without examples."""
    _check_any(labels)
    return float((predicted.to(labels.device) == labels).double().mean())


@checked
def top_k_accuracy(scores: Real[Tensor, "examples classes"], labels: Integer[Tensor, "examples"], k: int = 1) -> float:
    """Share of examples whose label is among the k highest scores, in [0, 1].

    Ties count against the label, so constant scores are right only when k reaches the number of classes.
    ValueError for k or a label out of range, NaN scores, or no examples.
    """
    _check_any(labels)
    classes = scores.shape[1]
    if not 1 <= k <= classes:
        raise ValueError(f"k={k} with {classes} classes: choose k from 1 to {classes}.")
    labels = labels.to(scores.device)
    if bool((labels < 0).any()) or bool((labels >= classes).any()):
        raise ValueError(f"Labels must lie in [0, {classes - 1}], the columns of scores; mend the labels outside.")
    if bool(scores.isnan().any()):
        raise ValueError("scores hold NaN, which compares as neither better nor worse: find the step that produced it.")
    own = scores.gather(1, labels.long()[:, None])
    # The label's own score is one of those counted, which makes this its rank from 1.
    rank = (scores >= own).sum(dim=1)
    return float((rank <= k).double().mean())


@checked
def mean_per_class_accuracy(predicted: Integer[Tensor, "examples"], labels: Integer[Tensor, "examples"]) -> float:
    """Accuracy of each class that occurs among the labels, averaged over those classes, in [0, 1].

    Classes without support are left out, not counted as 0. ValueError without examples.
    """
    _check_any(labels)
    _, index, support = labels.unique(return_inverse=True, return_counts=True)
    right = (predicted.to(labels.device) == labels).double()
    per_class = torch.zeros(len(support), dtype=torch.float64, device=labels.device).index_add_(0, index, right)
    return float((per_class / support).mean())


def _check_any(labels: Tensor) -> None:
    if labels.numel() == 0:
        raise ValueError("There are no examples to score: pass at least one label.")
