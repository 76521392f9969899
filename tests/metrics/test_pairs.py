"""Accuracy and consistency of statements about pictures."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tinyvlm.metrics import ENTAILMENT, PairAccuracy, entailment_accuracy, pair_accuracy


def test_known_answer() -> None:
    true = torch.tensor([True, False, True, False])
    predicted = torch.tensor([True, False, True, True])
    assert pair_accuracy(predicted, true, torch.tensor([7, 7, 3, 3])) == PairAccuracy(0.75, 0.5)
    assert pair_accuracy(predicted, true) == PairAccuracy(0.75, 0.75)


def test_an_answer_from_the_words_alone_is_never_consistent() -> None:
    """Half of the pairs of each statement are true, so one answer for all of them is right half of the time."""
    true = torch.tensor([True, False] * 6)
    statement = torch.arange(12) // 2
    by_words = (statement % 2).bool()
    assert pair_accuracy(by_words, true, statement) == PairAccuracy(0.5, 0.0)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 4)), min_size=1, max_size=20), st.randoms())
def test_equals_the_slow_loop_in_any_order(rows: list[tuple[bool, bool, int]], random) -> None:
    random.shuffle(rows)
    result = pair_accuracy(*(torch.tensor([row[i] for row in rows]) for i in range(3)))
    assert result.accuracy == pytest.approx(sum(p == t for p, t, _ in rows) / len(rows))
    statements = {s for _, _, s in rows}
    right = [all(p == t for p, t, other in rows if other == s) for s in statements]
    assert result.consistency == pytest.approx(sum(right) / len(right))


def test_entailment_counts_three_answers() -> None:
    assert len(ENTAILMENT) == 3
    assert entailment_accuracy(torch.tensor([0, 1, 2, 0]), torch.tensor([0, 1, 1, 2])) == 0.5
    assert entailment_accuracy(torch.zeros(9, dtype=torch.long), torch.arange(9) % 3) == pytest.approx(1 / 3)


def test_bad_input_gets_one_sentence() -> None:
    one, two = torch.tensor([True]), torch.tensor([True, False])
    with pytest.raises(ValueError, match="1 predictions, 2 truths and 2 statement numbers"):
        pair_accuracy(one, two)
    with pytest.raises(ValueError, match="2 predictions, 2 truths and 1 statement numbers"):
        pair_accuracy(two, two, torch.tensor([0]))
    with pytest.raises(ValueError, match="no examples"):
        pair_accuracy(one[:0], one[:0])
    with pytest.raises(ValueError, match="labels must hold 0, 1 or 2, for entailment, neutral, contradiction"):
        entailment_accuracy(torch.tensor([0]), torch.tensor([-1]))
    with pytest.raises(ValueError, match="2 predictions and 1 labels"):
        entailment_accuracy(torch.tensor([0, 1]), torch.tensor([0]))
    with pytest.raises(ValueError, match="no examples"):
        entailment_accuracy(torch.tensor([], dtype=torch.long), torch.tensor([], dtype=torch.long))
