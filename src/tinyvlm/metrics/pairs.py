"""Statements about pictures: true or false of two pictures (NLVR2), or entailed, open or contradicted (SNLI-VE)."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Integer
from torch import Tensor

from tinyvlm.metrics.arguments import checked
from tinyvlm.metrics.classification import accuracy

ENTAILMENT = ("entailment", "neutral", "contradiction")


class PairAccuracy(NamedTuple):
    """Shares in [0, 1] of right answers, and of statements answered rightly for *all* their pairs of pictures."""

    accuracy: float
    consistency: float


@checked
def pair_accuracy(
    predicted: Bool[Tensor, "pairs"], true: Bool[Tensor, "_"], statement: Integer[Tensor, "_"] | None = None
) -> PairAccuracy:
    """Accuracy and consistency of NLVR2 (Suhr et al., ACL 2019, section 4 of arXiv 1811.00491).

    predicted, true: whether the statement holds for a pair of pictures. statement: number of the statement each pair
    goes with, in any order; without it every pair has its own, and the two numbers are equal. Every statement of
    NLVR2 goes with pairs of both kinds, so an answer from the words alone has consistency 0. ValueError for no pairs
    or lengths that differ.
    """
    statement = torch.arange(len(true), device=true.device) if statement is None else statement.to(true.device)
    if not len(predicted) == len(true) == len(statement):
        raise ValueError(
            f"{len(predicted)} predictions, {len(true)} truths and {len(statement)} statement numbers: pass one each."
        )
    right = accuracy(predicted.long(), true.long())
    _, index = statement.unique(return_inverse=True)
    wrong = torch.zeros(int(index.max()) + 1, device=true.device)
    wrong.index_add_(0, index, (predicted.to(true.device) != true).to(wrong.dtype))
    return PairAccuracy(right, float((wrong == 0).double().mean()))


@checked
def entailment_accuracy(predicted: Integer[Tensor, "pictures"], labels: Integer[Tensor, "_"]) -> float:
    """Three-way accuracy of visual entailment (SNLI-VE; Xie et al., arXiv 1901.06706), in [0, 1]; chance is 1/3.

    predicted, labels: integers, places in `ENTAILMENT`. ValueError for numbers outside, lengths that differ, or no
    examples.
    """
    if len(predicted) != len(labels):
        raise ValueError(f"{len(predicted)} predictions and {len(labels)} labels: pass one prediction per label.")
    for name, answers in (("predicted", predicted), ("labels", labels)):
        if not bool(((answers == 0) | (answers == 1) | (answers == 2)).all()):
            raise ValueError(f"{name} must hold 0, 1 or 2, for {', '.join(ENTAILMENT)}; leave out what has no label.")
    return accuracy(predicted.long(), labels.long())
