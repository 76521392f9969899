"""Forced choice between the true caption and one with a single change: the table that runs through the course.

For every image the model scores its true caption and a caption in which exactly one thing is different. Choosing the
true one more often than half of the time means that its scores depend on that thing. Each kind of change keeps its own
score, because retrieval rewards some of them and not others.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Bool, Real
from torch import Tensor

from tinyvlm.data.changes import LABELS
from tinyvlm.metrics.arguments import checked

CHANCE = 0.5


class Contrast(NamedTuple):
    """Share of `n` forced choices in which the true caption won; ties count one half."""

    value: float
    n: int

    @property
    def standard_error(self) -> float:
        """Of the share, as a binomial proportion."""
        return math.sqrt(self.value * (1 - self.value) / self.n)


@checked
def forced_choice(
    true_scores: Real[Tensor, "scenes"],
    changed_scores: Real[Tensor, "scenes"],
    admitted: Bool[Tensor, "scenes"] | None = None,
) -> Contrast:
    """How often the true caption beats the changed one.

    true_scores, changed_scores: the model's score of each image with its true and with its changed caption, higher is
    better. admitted: True where the scene admits the change (a lone object has nothing to swap with); the others are
    left out. Ties count one half, so constant scores give 0.5. ValueError if no scene is admitted or a counted score
    is NaN.
    """
    changed_scores = changed_scores.to(true_scores.device)
    if admitted is not None:
        keep = admitted.to(true_scores.device)
        true_scores, changed_scores = true_scores[keep], changed_scores[keep]
    n = true_scores.numel()
    if n == 0:
        raise ValueError("No scene admits this change, so there is nothing to choose between: use scenes that do.")
    if bool(true_scores.isnan().any()) or bool(changed_scores.isnan().any()):
        raise ValueError("A score is NaN, so no caption wins: find the step that produced it.")
    wins = (true_scores > changed_scores).double() + 0.5 * (true_scores == changed_scores).double()
    return Contrast(float(wins.mean()), n)


@dataclass(frozen=True)
class ContrastTable:
    """A row a model, a column a kind of change. Immutable: `with_row` and `|` return new tables.

    rows: {model: {change: Contrast}}. A cell may be missing, for scenes that never admit a change; it shows as "–".
    """

    rows: Mapping[str, Mapping[str, Contrast]] = field(default_factory=dict)

    @property
    def models(self) -> tuple[str, ...]:
        """Row names in the order they were added."""
        return tuple(self.rows)

    @property
    def changes(self) -> tuple[str, ...]:
        """Column names in the order in which the rows first name them."""
        return tuple(dict.fromkeys(change for row in self.rows.values() for change in row))

    def __getitem__(self, cell: tuple[str, str]) -> Contrast | None:
        """`table["CLIP", "object"]`; None where that model was not measured on that change. KeyError: unknown names."""
        model, change = cell
        for name, known, what in ((model, self.models, "model"), (change, self.changes, "change")):
            if name not in known:
                raise KeyError(f"Unknown {what} {name!r}: this table has {', '.join(known) or 'none yet'}.")
        return self.rows[model].get(change)

    def with_row(self, model: str, row: Mapping[str, Contrast]) -> "ContrastTable":
        """This table with one more row, or with that model's row replaced."""
        return ContrastTable({**self.rows, model: dict(row)})

    def __or__(self, other: "ContrastTable") -> "ContrastTable":
        return ContrastTable({**self.rows, **other.rows})

    def to_dict(self) -> dict[str, dict[str, dict[str, float | int]]]:
        """Plain numbers as receipts store them: {model: {change: {"value": 0.97, "n": 1024}}}."""
        return {
            model: {change: {"value": cell.value, "n": cell.n} for change, cell in row.items()}
            for model, row in self.rows.items()
        }

    @classmethod
    def from_dict(cls, table: Mapping[str, Mapping[str, Mapping[str, float]]]) -> "ContrastTable":
        """Inverse of `to_dict`. ValueError naming the cell that is not a share of a positive number of choices."""
        rows: dict[str, dict[str, Contrast]] = {}
        for model, row in table.items():
            rows[model] = {}
            for change, cell in row.items():
                if not {"value", "n"} <= set(cell) or not 0 <= cell["value"] <= 1 or cell["n"] < 1:
                    raise ValueError(
                        f"{model}, {change}: {dict(cell)} is no forced-choice result; "
                        "needed are value in [0, 1] and n of at least 1."
                    )
                rows[model][change] = Contrast(float(cell["value"]), int(cell["n"]))
        return cls(rows)

    def to_markdown(self, digits: int = 2) -> str:
        """The table as Markdown, columns named by `data.changes.LABELS`, chance as its last row."""
        head = ["model", *(LABELS.get(change, change) for change in self.changes)]
        lines = [head, ["---"] + ["---:"] * len(self.changes)]
        for model, row in self.rows.items():
            cells = [f"{row[change].value:.{digits}f}" if change in row else "–" for change in self.changes]
            lines.append([model, *cells])
        lines.append(["*chance*"] + [f"{CHANCE:.{digits}f}"] * len(self.changes))
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def contrast_table(
    true_scores: Mapping[str, Tensor],
    changed_scores: Mapping[str, Mapping[str, Tensor]],
    admitted: Mapping[str, Tensor],
    changes: Iterable[str] | None = None,
) -> ContrastTable:
    """The table for several models measured on the same scenes.

    true_scores: {model: [scenes]}, each image with its true caption. changed_scores: {model: {change: [scenes]}},
    with the changed caption. admitted: {change: bool [scenes]}. changes: the columns in order; without it, the keys
    of `admitted`. A change that no scene admits is left blank in every row. ValueError if a model lacks scores for a
    change, and as for `forced_choice`, naming model and change.
    """
    columns = tuple(admitted if changes is None else changes)
    unknown = [change for change in columns if change not in admitted]
    if unknown:
        raise ValueError(f"No `admitted` mask for {', '.join(unknown)}: known are {', '.join(admitted)}.")
    possible = [change for change in columns if bool(torch.as_tensor(admitted[change]).any())]
    rows: dict[str, dict[str, Contrast]] = {}
    for model, scores in true_scores.items():
        changed = changed_scores.get(model, {})
        missing = [change for change in possible if change not in changed]
        if missing:
            raise ValueError(f"{model} has no scores for {', '.join(missing)}: score them, or name fewer changes.")
        rows[model] = {}
        for change in possible:
            try:
                rows[model][change] = forced_choice(scores, changed[change], admitted[change])
            except ValueError as error:
                raise ValueError(f"{model}, {change}: {error}") from error
    return ContrastTable(rows)
