"""ROC AUC and the average precisions against scikit-learn, torchmetrics, slow loops and known answers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from tinyvlm.metrics import average_precision, mean_average_precision, roc_auc
from tinyvlm.metrics.ranking import RULES

SCORES = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
LABELS = torch.tensor([1, 0, 1, 0, 0, 1])
# Few distinct scores, so that ties are common.
rows = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=25)


def both(pairs: list[tuple[int, bool]]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([score for score, _ in pairs]).double(), torch.tensor([label for _, label in pairs])


def test_known_answers() -> None:
    assert average_precision(SCORES, LABELS) == pytest.approx(0.722222, abs=1e-6)
    assert average_precision(SCORES, LABELS, "11-point") == pytest.approx(0.727273, abs=1e-6)
    assert average_precision(SCORES, LABELS, "101-point") == pytest.approx(0.722772, abs=1e-6)
    assert roc_auc(SCORES, LABELS) == pytest.approx(0.555556, abs=1e-6)


def test_constant_scores_win_nothing() -> None:
    assert roc_auc(torch.zeros(6), LABELS) == 0.5
    rare = torch.tensor([1] + [0] * 99)  # placed first, where a careless sort would find it
    for rule in RULES:
        assert average_precision(torch.ones(100), rare, rule) == pytest.approx(0.01)


@given(rows.filter(lambda pairs: len({label for _, label in pairs}) == 2))
def test_roc_auc_equals_scikit_learn_and_all_pairs(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = both(pairs)
    result = roc_auc(scores, labels)
    duels = [(p > n) + 0.5 * (p == n) for p, yes in pairs if yes for n, no in pairs if not no]
    assert result == pytest.approx(sum(duels) / len(duels), abs=1e-12)
    assert result == pytest.approx(float(roc_auc_score(labels, scores)), abs=1e-12)
    assert result == pytest.approx(1 - roc_auc(-scores, labels), abs=1e-12)
    assert result == pytest.approx(roc_auc(scores.exp(), labels), abs=1e-12)  # only the order counts


def slow(pairs: list[tuple[int, bool]], recalls: list[float]) -> float:
    """Best precision over all thresholds that reach a recall, looked for at each recall in turn."""
    points = []
    for threshold in {score for score, _ in pairs}:
        above = [label for score, label in pairs if score >= threshold]
        points.append((sum(above) / sum(label for _, label in pairs), sum(above) / len(above)))
    return sum(max((p for r, p in points if r >= recall - 1e-9), default=0.0) for recall in recalls) / len(recalls)


@given(rows.filter(lambda pairs: any(label for _, label in pairs)), st.randoms())
def test_average_precisions_equal_scikit_learn_and_slow_loops(pairs: list[tuple[int, bool]], random) -> None:
    scores, labels = both(pairs)
    values = {rule: average_precision(scores, labels, rule) for rule in RULES}
    assert values["step"] == pytest.approx(float(average_precision_score(labels, scores)), abs=1e-12)
    assert values["11-point"] == pytest.approx(slow(pairs, [i / 10 for i in range(11)]), abs=1e-12)
    positives = int(labels.sum())
    assert values["all-point"] == pytest.approx(
        slow(pairs, [i / positives for i in range(1, positives + 1)]), abs=1e-12
    )
    assert values["all-point"] >= values["step"] - 1e-12
    assert all(0 < value <= 1 for value in values.values())
    random.shuffle(pairs)
    assert {rule: average_precision(*both(pairs), rule) for rule in RULES} == pytest.approx(values, abs=1e-12)


def test_equal_torchmetrics(torchmetrics) -> None:
    scores, labels = torch.rand(200), torch.rand(200) < 0.3
    functional = torchmetrics.functional.classification
    assert roc_auc(scores, labels) == pytest.approx(float(functional.binary_auroc(scores, labels.long())), abs=1e-6)
    theirs = float(functional.binary_average_precision(scores, labels.long()))
    assert average_precision(scores, labels, "step") == pytest.approx(theirs, abs=1e-6)


def test_eleven_recalls_are_compared_exactly() -> None:
    """3 of 10 positives are recall 0.3, which the floating-point 3 × 0.1 would miss."""
    labels = torch.tensor([1] * 3 + [0] * 7 + [1] * 7)
    scores = -torch.arange(17).double()
    assert average_precision(scores, labels, "11-point") == pytest.approx((4 * 1 + 7 * 10 / 17) / 11)


def test_classes_are_averaged() -> None:
    scores = torch.rand(30, 4)
    labels = torch.rand(30, 4) < 0.4
    labels[0] = True
    expected = np.mean([average_precision(scores[:, c], labels[:, c], "11-point") for c in range(4)])
    assert mean_average_precision(scores, labels) == pytest.approx(expected)
    macro = average_precision_score(labels, scores, average="macro")
    assert mean_average_precision(scores, labels, "step") == pytest.approx(float(macro), abs=1e-12)


def test_bad_input_gets_one_sentence() -> None:
    with pytest.raises(ValueError, match="Every label is positive, so ROC AUC is undefined"):
        roc_auc(SCORES, torch.ones(6))
    with pytest.raises(ValueError, match="Every label is negative, so ROC AUC is undefined"):
        roc_auc(SCORES, torch.zeros(6))
    with pytest.raises(ValueError, match="No label is positive"):
        average_precision(SCORES, torch.zeros(6))
    with pytest.raises(ValueError, match="6 scores and 5 labels"):
        roc_auc(SCORES, LABELS[:5])
    with pytest.raises(ValueError, match="0 scores and 0 labels"):
        average_precision(SCORES[:0], LABELS[:0])
    with pytest.raises(ValueError, match="NaN"):
        roc_auc(SCORES * torch.nan, LABELS)
    with pytest.raises(ValueError, match="labels must hold 0 and 1 only"):
        roc_auc(SCORES, LABELS * 2)
    with pytest.raises(ValueError, match=r"Classes \[1\] have no positive example"):
        mean_average_precision(torch.zeros(2, 2), torch.tensor([[1, 0], [1, 0]]))
    with pytest.raises(ValueError, match="pass both as"):
        mean_average_precision(torch.zeros(2, 2), torch.zeros(2, 3))
