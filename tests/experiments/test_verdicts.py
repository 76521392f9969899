"""Directions: which arm counts for one, which against it, which is only shown; and the values of an arm."""

import pytest

from tinyvlm.experiments.verdicts import direction, mean, quantity, worst


def test_a_direction_counts_for_its_better_arm() -> None:
    claim = direction("up", "A beats B.", "score", lambda row: row["score"], better="A", worse="B", also=("C",))
    rows = {"A": {"score": 0.75}, "B": {"score": 0.5}, "C": {"score": 99.0}}
    assert claim.difference(rows) == 0.25
    assert claim.difference({**rows, "A": {"score": 0.0}}) == -0.5
    assert claim.arms == ("A", "C", "B") and claim.value is not None and claim.value(rows["C"]) == 99.0
    assert (claim.id, claim.statement, claim.metric) == ("up", "A beats B.", "score")
    assert claim.kind == "direction" and claim.margin == 0.0


def test_a_headline_may_be_one_and_its_kind_is_checked() -> None:
    made = {"better": "A", "worse": "B", "margin": 0.1}
    headline = direction("up", "", "score", lambda row: row["score"], kind="headline", **made)
    assert headline.kind == "headline" and headline.margin == 0.1
    with pytest.raises(ValueError, match="Claim 'up' is of kind 'subtitle': choose headline or direction"):
        direction("up", "", "score", lambda row: row["score"], kind="subtitle", **made)


def test_worst_and_mean_of_the_metrics_that_are_named() -> None:
    row = {"a": 0.25, "b": 0.75, "c": -9.0}
    assert worst("a", "b")(row) == 0.25 and mean("a", "b")(row) == 0.5
    with pytest.raises(KeyError):
        worst("a", "missing")(row)


@pytest.mark.parametrize(
    ("per_seed", "numbers", "name"),
    [
        ({"a": [0.9, 0.8], "b": [0.5, 0.5]}, [0.4, 0.3], "difference"),
        ({"a": [0.9, 0.8], "b": [0.1, 0.1], "c": [0.5, 0.5]}, [0.4, 0.3], "difference"),
        ({"a": [0.9, 0.8]}, [0.9, 0.8], "value"),
        ({"a": [0.9, 0.8], "b": [0.5, 0.5]}, [1.8, 1.6], "value"),
        ({"a": [], "b": []}, [0.4, 0.3], "value"),
    ],
    ids=["two arms", "three arms", "one arm", "ratio", "several metrics"],
)
def test_only_a_difference_of_the_numbers_shown_is_called_one(per_seed, numbers, name):
    assert quantity(per_seed, numbers) == name
