"""A direction between two arms: which arm counts for it, which against it, and which is only shown."""

import pytest

from tinyvlm.experiments.verdicts import direction


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
