"""Receipts as the site and the command line show them: what a complete run measured, and whether it still holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coursekit.schema import Course, Week
from tinyvlm.training.receipts import Standing, read_receipt, standing

LABELS = {"this": "this code", "verified": "verified since", "changed": "code has changed", "none": "no run yet"}


@dataclass(frozen=True)
class Proof:
    """One week's receipt: `data` is the JSON as written by the run, `standing` says whether it still holds.

    The state "none" is a chapter without a receipt.
    """

    week: Week
    standing: Standing
    data: dict[str, Any]

    @property
    def state(self) -> str:
        return self.standing.state

    @property
    def label(self) -> str:
        return LABELS[self.state]

    @property
    def names(self) -> str:
        """What has changed since the run, at most eight names."""
        names = self.standing.changed
        return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")

    @property
    def explanation(self) -> str:
        return {
            "this": "This notebook, this core and this data produced the outputs below.",
            "verified": (
                f"The code has changed since this run. On {self.standing.verified} it was verified to give the same "
                "smoke numbers: losses to 1e-4, shares to one example."
            ),
            "changed": (
                f"What the outputs below came from has changed since: {self.names}. Read the numbers as history until "
                "the code is verified or the chapter is run again."
            ),
            "none": "Nobody has completed a run of this chapter yet, so this page shows no measured number.",
        }[self.state]

    @property
    def single_changes(self) -> dict[str, dict[str, dict[str, float]]]:
        """Forced-choice accuracy by model and change: `{model: {change: {"value": 0..1, "n": scenes}}}`."""
        return self.data.get("single_changes") or {}

    def runs_behind(self, model: str) -> dict[str, Any]:
        """A row's number of seeds and its budget in words; None and "" for a receipt that does not say."""
        return {"seeds": None, "budget": ""} | (self.data.get("single_change_runs") or {}).get(model, {})


def proof(root: Path, week: Week) -> Proof | None:
    """The receipt of `week` and its state; None for a week without a chapter. ValueError when it is not a receipt.

    Only hashes are compared: nothing is trained, and torch is not imported.
    """
    if week.notebook is None:
        return None
    path = root / week.receipt
    if not path.is_file():
        return Proof(week, Standing("none"), {})
    data = read_receipt(path)
    return Proof(week, standing(data, root / week.notebook), data)


def proofs(root: Path, course: Course) -> list[Proof]:
    """Every chapter's proof, in the order of the weeks."""
    return [found for week in course.weeks if (found := proof(root, week))]


def duration(seconds: float) -> str:
    """Seconds as a reader says them: 42 s, 3 min 05 s, 1 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
