"""Receipts as the site and the command line show them: what a complete run measured, and whether it still holds."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coursekit.schema import Course, Week

EXPLANATIONS = {
    "fresh": "Exactly this notebook and this core produced the outputs below.",
    "equivalent": (
        "The code has changed since this run, and the first 20 losses of a small seeded run are still the "
        "same to 1e-4."
    ),
    "stale": (
        "The code has changed since this run and no longer gives the same losses. Read the numbers below as "
        "history until the chapter is run again."
    ),
    "none": "Nobody has completed a run of this chapter yet, so this page shows no measured number.",
}


@dataclass(frozen=True)
class Proof:
    """One week's receipt: `data` is the JSON as written by the run, `state` one of the keys of EXPLANATIONS."""

    week: Week
    state: str
    data: dict[str, Any]

    @property
    def explanation(self) -> str:
        return EXPLANATIONS[self.state]

    @property
    def single_changes(self) -> dict[str, dict[str, dict[str, float]]]:
        """Forced-choice accuracy by model and change: `{model: {change: {"value": 0..1, "n": scenes}}}`."""
        return self.data.get("single_changes") or {}


def proof(root: Path, week: Week) -> Proof | None:
    """The receipt of `week` and its state; None for a week without a chapter. ValueError when it is not a receipt."""
    if week.notebook is None:
        return None
    path = root / week.receipt
    if not path.is_file():
        return Proof(week, "none", {})
    from tinyvlm.training.receipts import read_receipt, status  # brings torch

    data = read_receipt(path)
    return Proof(week, status(data, root / week.notebook, canary=_canary(week)), data)


def proofs(root: Path, course: Course) -> list[Proof]:
    """Every chapter's proof, in the order of the weeks."""
    return [found for week in course.weeks if (found := proof(root, week))]


def _canary(week: Week) -> Callable[[], list[float]]:
    """The week's small seeded run; it is called, and its module imported, only when the fingerprint differs."""

    def run() -> list[float]:
        return importlib.import_module(f"tinyvlm.experiments.week{week.week:02d}").canary()

    return run


def duration(seconds: float) -> str:
    """Seconds as a reader says them: 42 s, 3 min 05 s, 1 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
