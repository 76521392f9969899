"""ROUGE-L against COCO's scorer, the usual table, and answers worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocoevalcap.rouge.rouge import Rouge

from tinyvlm.metrics import rouge_l
from tinyvlm.metrics.rouge import common_subsequence_length

words = st.lists(st.sampled_from("abc"), max_size=12)


def test_known_answers(toy) -> None:
    result = rouge_l(*toy)
    assert result.per_image == pytest.approx([0.833333, 0.780051, 0.178886], abs=1e-6)
    assert result.mean == pytest.approx(0.597423, abs=1e-6)


def test_precision_and_recall_may_come_from_two_references() -> None:
    # Precision 1 against the long reference, recall 1 against the short one, and neither has both.
    assert rouge_l(["a b"], [["a b c d", "b"]]).mean == pytest.approx(1)


def test_equals_coco(corpus, coco) -> None:
    mean, per_image = Rouge().compute_score(*coco)
    result = rouge_l(*corpus)
    assert result.per_image == pytest.approx(per_image, abs=1e-12)
    assert result.mean == pytest.approx(mean, abs=1e-12)


@given(words, words)
def test_subsequence_length_equals_the_usual_table(first: list[str], second: list[str]) -> None:
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, a in enumerate(first, start=1):
        for j, b in enumerate(second, start=1):
            table[i][j] = table[i - 1][j - 1] + 1 if a == b else max(table[i - 1][j], table[i][j - 1])
    assert common_subsequence_length(first, second) == table[-1][-1] == common_subsequence_length(second, first)


@given(words, st.lists(words.filter(bool), min_size=1, max_size=3))
def test_range_order_and_the_perfect_caption(said: list[str], meant: list[list[str]]) -> None:
    references = [" ".join(caption) for caption in meant]
    score = rouge_l([" ".join(said)], [references]).mean
    assert 0 <= score <= 1
    assert rouge_l([" ".join(said)], [references[::-1]]).mean == score
    assert rouge_l([references[0]], [references]).mean == pytest.approx(1)
    assert rouge_l([""], [references]).mean == 0


def test_bad_beta_gets_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"beta=0\.0 must be positive"):
        rouge_l(["a"], [["a"]], beta=0.0)
