"""Corpus BLEU against COCO's scorer, torchmetrics, and answers worked out by hand."""

import math
import random

import pytest
from pycocoevalcap.bleu.bleu import Bleu as CocoBleu

from tinyvlm.metrics import bleu


def test_known_answers(toy) -> None:
    assert bleu(*toy).scores == pytest.approx((0.777778, 0.720082, 0.600046, 0.468096), abs=1e-6)


def test_a_repeated_word_counts_as_often_as_in_one_reference() -> None:
    result = bleu(["the the the the the the the"], [["the cat is on the mat", "there is a cat on the mat"]])
    assert result.scores[0] == pytest.approx(2 / 7)
    assert result.precisions[1] == pytest.approx(0, abs=1e-12)


def test_equals_coco(corpus, coco) -> None:
    scores, _ = CocoBleu(4).compute_score(*coco, verbose=0)
    assert bleu(*corpus).scores == pytest.approx(scores, abs=1e-12, rel=1e-12)


def test_equals_torchmetrics_where_no_reference_lengths_tie(torchmetrics) -> None:
    """torchmetrics breaks ties between reference lengths in another way, and adds no tiny constants."""
    draw = random.Random(0)
    hypotheses = [" ".join(draw.choices("abcd", k=9)) for _ in range(20)]
    references = [[" ".join(draw.choices("abcd", k=length)) for length in (8, 11)] for _ in hypotheses]
    for n in (1, 2, 3, 4):
        theirs = torchmetrics.functional.text.bleu_score(hypotheses, references, n_gram=n)
        assert bleu(hypotheses, references).scores[n - 1] == pytest.approx(float(theirs), abs=1e-6)


def test_the_closest_reference_length_counts_and_of_two_the_shorter() -> None:
    result = bleu(["a b c d"], [["a b c", "a b c d e", "a"]])
    assert (result.hypothesis_length, result.reference_length, result.brevity_penalty) == (4, 3, 1.0)
    assert bleu(["a b"], [["a b c", "a b c d"]]).brevity_penalty == pytest.approx(math.exp(1 - 3 / 2))


def test_shuffled_words_keep_bleu_1_and_lose_bleu_4() -> None:
    caption = "a cat is on the mat in the house"
    shuffled = " ".join(random.Random(1).sample(caption.split(), 9))
    result = bleu([shuffled], [[caption]])
    assert result.scores[0] == pytest.approx(1) and result.scores[3] < 1e-3


def test_the_corpus_is_pooled_not_averaged() -> None:
    hypotheses, references = ["a b c d", "x"], [["a b c d"], ["y"]]
    each = [bleu([h], [r]).scores[0] for h, r in zip(hypotheses, references, strict=True)]
    assert bleu(hypotheses, references).scores[0] == pytest.approx(4 / 5)
    assert sum(each) / 2 == pytest.approx(1 / 2)


def test_ranges_and_order(corpus) -> None:
    hypotheses, references = corpus
    result = bleu(hypotheses, references)
    assert all(0 <= score <= 1 for score in result.scores)
    order = random.Random(0).sample(range(len(hypotheses)), len(hypotheses))
    shuffled = bleu([hypotheses[i] for i in order], [references[i][::-1] for i in order])
    assert shuffled == result
    assert bleu([r[0] for r in references], references, n=1).scores[0] == pytest.approx(1)


def test_saying_nothing_scores_nothing() -> None:
    assert bleu([""], [["a cat"]]).scores == (0, 0, 0, 0)


def test_bad_length_gets_one_sentence() -> None:
    with pytest.raises(ValueError, match="n=0 is no n-gram length"):
        bleu(["a"], [["a"]], n=0)
