"""Forced choice against a slow loop, and the table that the weeks fill."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tinyvlm.metrics import Contrast, ContrastTable, contrast_table, forced_choice

pairs = st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2), st.booleans()), min_size=1, max_size=30)


@given(pairs)
def test_equals_the_slow_loop(rows: list[tuple[int, int, bool]]) -> None:
    true, changed = (torch.tensor([float(row[i]) for row in rows]) for i in (0, 1))
    admitted = torch.tensor([row[2] for row in rows])
    points = [1.0 if t > c else 0.5 if t == c else 0.0 for t, c, keep in rows if keep]
    if not points:
        with pytest.raises(ValueError, match="No scene admits"):
            forced_choice(true, changed, admitted)
        return
    result = forced_choice(true, changed, admitted)
    assert result.n == len(points)
    assert result.value == pytest.approx(sum(points) / len(points))


@given(pairs)
def test_swapping_the_two_captions_mirrors_the_score(rows: list[tuple[int, int, bool]]) -> None:
    true, changed = (torch.tensor([float(row[i]) for row in rows]) for i in (0, 1))
    assert forced_choice(true, changed).value == pytest.approx(1 - forced_choice(changed, true).value)


def test_constant_scores_are_at_chance() -> None:
    assert forced_choice(torch.ones(7), torch.ones(7)) == Contrast(0.5, 7)


def test_a_nan_outside_the_admitted_scenes_does_not_matter() -> None:
    true, changed = torch.tensor([1.0, torch.nan]), torch.tensor([0.0, 0.0])
    assert forced_choice(true, changed, torch.tensor([True, False])) == Contrast(1.0, 1)
    with pytest.raises(ValueError, match="NaN"):
        forced_choice(true, changed)


def test_standard_error_is_the_binomial_one() -> None:
    assert Contrast(0.5, 100).standard_error == pytest.approx(0.05)
    assert Contrast(1.0, 100).standard_error == 0


def test_a_reader_is_shown_what_count_does_and_the_stored_name_stays() -> None:
    left_out = ContrastTable({"CLIP": {"count": Contrast(1.0, 8)}})
    assert left_out.to_markdown().splitlines()[0] == "| model | one object left out |"
    assert list(left_out.to_dict()["CLIP"]) == ["count"]


@pytest.fixture
def table() -> ContrastTable:
    true = {"CLIP": torch.tensor([1.0, 1.0, 1.0, 1.0]), "ALBEF": torch.tensor([2.0, 2.0, 2.0, 2.0])}
    changed = {
        "CLIP": {"object": torch.tensor([0.0, 0.0, 0.0, 2.0]), "objects swapped": torch.tensor([1.0, 1.0, 0.0, 0.0])},
        "ALBEF": {"object": torch.zeros(4), "objects swapped": torch.zeros(4)},
    }
    admitted = {
        "object": torch.tensor([True] * 4),
        "objects swapped": torch.tensor([True, True, False, False]),
        "relation": torch.tensor([False] * 4),
    }
    return contrast_table(true, changed, admitted)


def test_table_holds_each_change_for_each_model(table: ContrastTable) -> None:
    assert table.models == ("CLIP", "ALBEF")
    assert table.changes == ("object", "objects swapped")  # no scene admits "relation", so it has no column
    assert table["CLIP", "object"] == Contrast(0.75, 4)
    assert table["CLIP", "objects swapped"] == Contrast(0.5, 2)
    assert table["ALBEF", "objects swapped"] == Contrast(1.0, 2)


def test_table_survives_json(table: ContrastTable) -> None:
    assert ContrastTable.from_dict(json.loads(json.dumps(table.to_dict()))) == table


def test_rows_of_later_weeks_are_added_without_touching_the_table(table: ContrastTable) -> None:
    more = table.with_row("CoCa", {"object": Contrast(0.9, 10)})
    assert more.models == ("CLIP", "ALBEF", "CoCa") and table.models == ("CLIP", "ALBEF")
    assert more["CoCa", "objects swapped"] is None
    assert (table | ContrastTable({"GIT": {"count": Contrast(0.6, 5)}})).changes[-1] == "count"
    assert more.to_markdown().splitlines()[4] == "| CoCa | 0.90 | – |"
    assert more.to_markdown().splitlines()[-1] == "| *chance* | 0.50 | 0.50 |"


def test_unknown_cells_are_named(table: ContrastTable) -> None:
    with pytest.raises(KeyError, match=r"Unknown model 'PaLI': this table has CLIP, ALBEF"):
        table["PaLI", "object"]
    with pytest.raises(KeyError, match="Unknown change 'size'"):
        table["CLIP", "size"]


@pytest.mark.parametrize(
    "cell", [{"value": 1.2, "n": 3}, {"value": 0.5, "n": 0}, {"value": 0.5}, {"value": math.nan, "n": 1}]
)
def test_foreign_cells_are_refused(cell: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"CLIP, object: .* is no forced-choice result"):
        ContrastTable.from_dict({"CLIP": {"object": cell}})


def test_missing_scores_are_named() -> None:
    with pytest.raises(ValueError, match="CLIP has no scores for count"):
        contrast_table({"CLIP": torch.ones(1)}, {"CLIP": {}}, {"count": torch.tensor([True])})
    with pytest.raises(ValueError, match="No `admitted` mask for size"):
        contrast_table({"CLIP": torch.ones(1)}, {"CLIP": {}}, {"count": torch.tensor([True])}, changes=["size"])
