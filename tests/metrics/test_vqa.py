"""VQA accuracy: answers as the original evaluation leaves them, and its steps of 0.3."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvlm.metrics import normalise_answer, vqa_accuracy, vqa_score


@pytest.mark.parametrize(("matches", "score"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (7, 1), (10, 1)])
def test_known_answers(matches: int, score: float) -> None:
    humans = ["cat"] * matches + [f"dog{i}" for i in range(10 - matches)]
    assert vqa_score("cat", humans) == pytest.approx(score)


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("The Dog", "dog"),
        ("an apple and a pear", "apple and pear"),
        ("Two", "2"),
        ("none", "0"),
        ("ten", "10"),
        ("eleven", "eleven"),
        ("dont", "don't"),
        ("couldntve", "couldntve"),  # both apostrophes lost: unknown to the original too
        ("couldn'tve", "couldn't've"),
        ("yall'd've", "y'all'd've"),
        ("Im", "im"),  # listed there with a capital, and looked up after lower-casing
        ("its", "its"),
        ("somebody'd", "somebodyd"),  # the wrong way round in the original
        ("t-shirt", "t shirt"),
        ("t- shirt", "t shirt"),
        ("black/white", "black white"),
        ("yes, it is", "yes it is"),
        ("yes,it is", "yes it is"),
        ("1,000", "1000"),
        ("1,000-2,000", "10002000"),  # a comma between digits removes all punctuation
        ("what?", "what"),
        ("(x)", "x"),
        ("3.", "3"),  # what the faulty rule takes, and a working one would leave
        ("3.5", "3.5"),
        (".5", ".5"),
        ("U.S.", "us"),
        ("no.", "no"),
        ("." * 40 + "x", "." * 8 + "x"),  # at most 32 periods
        ("dog's", "dog's"),
        ("", ""),
        ("the", ""),
    ],
)
def test_normal_forms(answer: str, normal: str) -> None:
    assert normalise_answer(answer) == normal


def test_normalised_only_where_people_differ() -> None:
    assert vqa_score("No", ["no"] * 10) == 0
    assert vqa_score("No", ["no"] * 9 + ["yes"]) == 1
    assert vqa_score("two", ["2"] * 10) == 0
    assert vqa_score("two", ["2"] * 9 + ["two"]) == 1
    # Ends and line breaks are cleaned first, and do not make answers differ.
    assert vqa_score(" no\n", ["no"] * 5 + ["no "] * 5) == 1
    assert vqa_score("No", ["no"] * 5 + ["no "] * 5) == 0


@given(st.lists(st.sampled_from(["yes", "no", "maybe"]), min_size=2, max_size=12), st.sampled_from(["yes", "no", "x"]))
def test_equals_the_loop_over_left_out_people(humans: list[str], answer: str) -> None:
    expected = [
        min(1, sum(text == answer for j, text in enumerate(humans) if j != left_out) / 3)
        for left_out in range(len(humans))
    ]
    score = vqa_score(answer, humans)
    assert score == pytest.approx(sum(expected) / len(humans))
    assert 0 <= score <= 1
    assert score == pytest.approx(vqa_score(answer, humans[::-1]))


def test_accuracy_is_the_mean_over_questions() -> None:
    humans = [["cat"] * 2 + list("abcdefgh"), ["dog"] * 10]
    assert vqa_accuracy(["cat", "dog"], humans) == pytest.approx(0.8)
    for order in itertools.permutations(range(2)):
        assert vqa_accuracy([["cat", "dog"][i] for i in order], [humans[i] for i in order]) == pytest.approx(0.8)


def test_bad_answers_get_one_sentence() -> None:
    with pytest.raises(ValueError, match="humans is 1: pass the answers of at least 2 people"):
        vqa_score("yes", ["yes"])
    with pytest.raises(ValueError, match="humans is one string"):
        vqa_score("yes", "yes")
    with pytest.raises(ValueError, match="no answers to score"):
        vqa_accuracy([], [])
    with pytest.raises(ValueError, match="2 answers and 1 lists"):
        vqa_accuracy(["yes", "no"], [["yes"] * 10])
