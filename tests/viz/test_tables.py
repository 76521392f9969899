"""Tables say every number in one way, in Markdown and in plain text."""

import subprocess
import sys

import numpy as np
import pytest

from tinyvlm.viz import table
from tinyvlm.viz.tables import number

ROWS = {"before": {"R@1": 0.00195, "scenes": 512}, "CLIP": {"R@1": 0.9981, "scenes": 512}}


def test_markdown_has_a_head_a_rule_and_a_line_a_row() -> None:
    assert table(ROWS, ["R@1", "scenes"], head="model", chance={"R@1": 1 / 512})._repr_markdown_() == (
        "| model | R@1 | scenes |\n"
        "| --- | ---: | ---: |\n"
        "| before | 0.002 | 512 |\n"
        "| CLIP | 0.998 | 512 |\n"
        "| *chance* | 0.002 | – |"
    )


def test_plain_text_is_aligned_and_without_marks() -> None:
    shown = table({"a **live** row": [0.5, "yes"], "b": [12.0, None]}, ["score", "held"], baseline=[0.25, "no"])
    assert str(shown) == repr(shown) == (
        "             score  held\n"
        "a live row   0.500  yes\n"
        "b           12.000  –\n"
        "baseline     0.250  no"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12345, "0.123"),
        (1, "1"),
        (1234567, "1,234,567"),
        (np.float32(0.5), "0.500"),
        (np.int64(1024), "1,024"),
        (-0.25, "-0.250"),
        (float("nan"), "nan"),
        ("86M", "86M"),
        (None, "–"),
    ],
)
def test_a_value_is_written_in_one_way(value: object, text: str) -> None:
    assert table({"row": value}, ["column"]).rows == (("row", text),)


def test_digits_are_chosen_and_integers_have_none() -> None:
    assert table({"row": [0.5, 7]}, ["a", "b"], digits=1).rows == (("row", "0.5", "7"),)
    assert (number(0.12345, 2), number(12345)) == ("0.12", "12,345")


@pytest.mark.parametrize(
    ("cells", "right"),
    [
        ([0.5, None], True),
        (["123.7M", "–"], True),
        (["+0.3", "3 px"], True),
        (["0.873<br>0.851–0.890", "1"], True),
        ([0.5, "yes"], False),
        (["2 of 8", "3 of 8"], False),
        ([None, None], False),
    ],
)
def test_columns_of_numbers_are_aligned_on_the_right(cells: list[object], right: bool) -> None:
    assert table([["a", cells[0]], ["b", cells[1]]], ["column"]).right[1] is right


def test_names_of_rows_are_on_the_left_even_when_they_are_numbers() -> None:
    assert "| --- | ---: |" in table([["16", 1], ["32", 2]], ["cost"], head="patch")._repr_markdown_()


def test_bars_are_escaped_once_and_lines_joined() -> None:
    shown = table({"P(w | I)": "a \\| b\nc"}, ["one|two"])._repr_markdown_()
    assert shown.splitlines()[0] == r"|  | one\|two |"
    assert shown.splitlines()[2] == r"| P(w \| I) | a \| b c |"


def test_rows_may_repeat_a_name_when_they_are_sequences() -> None:
    assert table([["ALBEF", "attention", 0.3], ["ALBEF", "Grad-CAM", 0.6]], ["map", "hits"]).rows == (
        ("ALBEF", "attention", "0.300"),
        ("ALBEF", "Grad-CAM", "0.600"),
    )


def test_one_number_of_chance_stands_for_all_columns() -> None:
    assert table({}, ["a", "b"], chance=0.5, baseline=0.75).rows == (
        ("*baseline*", "0.750", "0.750"),
        ("*chance*", "0.500", "0.500"),
    )


def test_a_table_without_rows_is_a_head() -> None:
    assert table([], ["a"], head="run")._repr_markdown_() == "| run | a |\n| --- | --- |"


def test_a_row_of_another_length_is_named() -> None:
    with pytest.raises(ValueError, match="Row 'CLIP' has 1 cells for 2 columns"):
        table({"CLIP": [0.5]}, ["a", "b"])


@pytest.mark.parametrize("value", [True, object()])
def test_a_cell_that_is_no_number_is_named(value: object) -> None:
    with pytest.raises(TypeError, match=f"Column 'a' of row 'CLIP' holds a {type(value).__name__}"):
        table({"CLIP": [value]}, ["a"])


def test_tables_need_no_notebook() -> None:
    code = "import sys; sys.modules['IPython'] = None; from tinyvlm.viz import table; print(table({'a': 0.5}, ['b']))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout == "       b\na  0.500\n", ran.stderr
