"""Tables that a notebook cell shows by itself: numbers are formatted here and nowhere else."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

MISSING = "–"
# What is aligned like a number: digits, a sign before them, a short unit behind them ("1,024", "+0.3M", "86 px").
_NUMERIC = re.compile(r"[+−-]?\d[\d,.]*\s?[^\W\d]{0,2}%?")

Cells = Mapping[str, Any] | Sequence[Any]


@dataclass(frozen=True)
class Table:
    """Formatted cells: `str` gives aligned plain text, a notebook shows Markdown. The first column names the rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def right(self) -> tuple[bool, ...]:
        """Which columns hold numbers, and nothing else: they are aligned on the right."""
        return tuple(
            any(cell != MISSING for cell in column)
            and all(cell == MISSING or _NUMERIC.fullmatch(cell.partition("<br>")[0]) is not None for cell in column)
            for column in zip(*self.rows, strict=True)
        ) or (False,) * len(self.columns)

    def _repr_markdown_(self) -> str:
        rule = ("---:" if right and place else "---" for place, right in enumerate(self.right))
        lines = (self.columns, rule, *self.rows)
        return "\n".join("| " + " | ".join(map(_escaped, line)) + " |" for line in lines)

    def __str__(self) -> str:
        lines = [[_plain(cell) for cell in line] for line in (self.columns, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        sides = [str.rjust if right and place else str.ljust for place, right in enumerate(self.right)]
        return "\n".join(
            "  ".join(side(cell, width) for side, cell, width in zip(sides, line, widths, strict=True)).rstrip()
            for line in lines
        )

    __repr__ = __str__


def table(
    rows: Mapping[str, Any] | Sequence[Sequence[Any]],
    columns: Sequence[str],
    *,
    head: str = "",
    chance: float | Cells | None = None,
    baseline: float | Cells | None = None,
    digits: int = 3,
) -> Table:
    """A table of numbers and texts; as the last value of a cell it shows itself.

    rows: {name: cells}, or sequences that begin with the name. Cells are one value a column, a mapping from columns
    to values (what it lacks is a dash), or for a single column the value itself.
    columns: names of the columns behind the rows' names; `head` stands above those.
    chance, baseline: last rows, in italics; one number stands for all columns.
    digits: behind the point of every number that is no integer. Texts are Markdown and stay as they are; None is a
    dash. ValueError for a row of another length, TypeError for a cell that is no number, text or None.
    """
    named = list(rows.items()) if isinstance(rows, Mapping) else [(row[0], row[1:]) for row in rows]
    lines = [(str(name), *_cells(str(name), cells, columns, digits)) for name, cells in named]
    for name, cells in (("baseline", baseline), ("chance", chance)):
        if cells is not None:
            same = [cells] * len(columns) if isinstance(cells, Real) else cells
            lines.append((f"*{name}*", *_cells(name, same, columns, digits)))
    return Table((head, *columns), tuple(lines))


def number(value: float | Real, digits: int = 3) -> str:
    """A number as every table of the course writes it: 1,024 for an integer, else `digits` behind the point."""
    return f"{int(value):,}" if isinstance(value, Integral) else f"{float(value):.{digits}f}"


def _cells(name: str, cells: Any, columns: Sequence[str], digits: int) -> list[str]:
    if isinstance(cells, Mapping):
        values = [cells.get(column) for column in columns]
    else:
        alone = isinstance(cells, str) or not isinstance(cells, Sequence)
        values = [cells] if alone else list(cells)
    if len(values) != len(columns):
        raise ValueError(f"Row {name!r} has {len(values)} cells for {len(columns)} columns: give one value a column.")
    return [_text(name, column, value, digits) for column, value in zip(columns, values, strict=True)]


def _text(name: str, column: str, value: object, digits: int) -> str:
    if value is None:
        return MISSING
    if isinstance(value, str):
        return value
    if isinstance(value, Real) and not isinstance(value, bool):
        return number(value, digits)
    kind = type(value).__name__
    raise TypeError(f"Column {column!r} of row {name!r} holds a {kind}: give a number, a text or None.")


def _escaped(cell: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\|", " ".join(cell.split()))


def _plain(cell: str) -> str:
    """Without line breaks and marks of emphasis."""
    return " ".join(re.sub(r"\*+(?=\S)([^*]*)(?<=\S)\*+", r"\1", cell.replace("<br>", " ")).split())
