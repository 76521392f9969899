"""Accuracies against slow loops and hand-made answers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from tinyvlm.metrics import accuracy, mean_per_class_accuracy, top_k_accuracy


def test_a_majority_answer_looks_good_on_one_and_bad_on_the_other() -> None:
    labels, predicted = torch.tensor([0] * 8 + [1] * 2), torch.tensor([0] * 9 + [1])
    assert accuracy(predicted, labels) == pytest.approx(0.90)
    assert mean_per_class_accuracy(predicted, labels) == pytest.approx(0.75)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
def test_mean_per_class_equals_the_slow_loop(rows: list[tuple[int, int]]) -> None:
    predicted, labels = (torch.tensor([row[i] for row in rows]) for i in (0, 1))
    per_class = []
    for c in {label for _, label in rows}:
        right = [p == label for p, label in rows if label == c]
        per_class.append(sum(right) / len(right))
    assert mean_per_class_accuracy(predicted, labels) == pytest.approx(sum(per_class) / len(per_class))


@given(st.data())
def test_top_k_equals_the_slow_loop(data: st.DataObject) -> None:
    classes = data.draw(st.integers(1, 5))
    row = st.lists(st.integers(-1, 1), min_size=classes, max_size=classes)
    scores = data.draw(st.lists(row, min_size=1, max_size=8))
    labels = data.draw(st.lists(st.integers(0, classes - 1), min_size=len(scores), max_size=len(scores)))
    k = data.draw(st.integers(1, classes))
    right = 0
    for values, label in zip(scores, labels, strict=True):
        order = sorted(range(classes), key=lambda c: (-values[c], c == label))  # ties: the label last
        right += label in order[:k]
    assert top_k_accuracy(torch.tensor(scores), torch.tensor(labels), k) == pytest.approx(right / len(scores))


def test_equal_scikit_learn_and_torchmetrics(torchmetrics) -> None:
    scores, labels = torch.randn(60, 5), torch.randint(0, 4, (60,))  # the last class has no support
    predicted = scores.argmax(dim=1)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        balanced = float(balanced_accuracy_score(labels, predicted))
    assert mean_per_class_accuracy(predicted, labels) == pytest.approx(balanced, abs=1e-12)
    functional = torchmetrics.functional.classification
    for k in (1, 2, 4):
        theirs = float(top_k_accuracy_score(labels, scores, k=k, labels=range(5)))
        assert top_k_accuracy(scores, labels, k) == pytest.approx(theirs, abs=1e-12)
        theirs = float(functional.multiclass_accuracy(scores, labels, num_classes=5, top_k=k, average="micro"))
        assert top_k_accuracy(scores, labels, k) == pytest.approx(theirs, abs=1e-6)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20), st.randoms())
def test_ranges_and_order(rows: list[tuple[int, int]], random) -> None:
    predicted, labels = (torch.tensor([row[i] for row in rows]) for i in (0, 1))
    random.shuffle(rows)
    shuffled = [torch.tensor([row[i] for row in rows]) for i in (0, 1)]
    for metric in (accuracy, mean_per_class_accuracy):
        assert 0 <= metric(predicted, labels) <= 1
        assert metric(*shuffled) == pytest.approx(metric(predicted, labels))
        assert metric(labels, labels) == 1
    constant = torch.zeros_like(labels)
    assert mean_per_class_accuracy(constant, labels) <= 1 / len(labels.unique()) + 1e-12


def test_constant_scores_win_nothing() -> None:
    assert top_k_accuracy(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]), 2) == 0
    assert top_k_accuracy(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]), 3) == 1


def test_bad_input_gets_one_sentence() -> None:
    scores, labels = torch.zeros(2, 3), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="choose k from 1 to 3"):
        top_k_accuracy(scores, labels, 4)
    with pytest.raises(ValueError, match=r"Labels must lie in \[0, 2\]"):
        top_k_accuracy(scores, torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="NaN"):
        top_k_accuracy(scores * torch.nan, labels)
    empty = torch.zeros(0, dtype=torch.long)
    with pytest.raises(ValueError, match="no examples"):
        accuracy(empty, empty)
    with pytest.raises(ValueError, match="no examples"):
        mean_per_class_accuracy(empty, empty)
