"""Receipts: what a complete run of a chapter measured, on what, and with which code.

receipt = Receipt(3, "week03_clip.ipynb", preset, "micro", seed=0)      # first cell: starts the clock
receipt.metric("R@1 image to text", 0.97, chance=1 / 512)
receipt.finish()                                                        # last cell
"""

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module, metadata
from numbers import Real
from pathlib import Path
from platform import python_version
from typing import Any

from tinyvlm.files import read_json, write_json
from tinyvlm.training.fingerprint import fingerprint

TOLERANCE = 1e-4
CANARY_STEPS = 20
VARIABLE = "TINYVLM_RECEIPT"
REMEDY = "run the chapter with `make week N=…` to write a new one"
KEYS = (
    *("week", "notebook", "preset", "size", "seed", "date", "device", "seconds", "peak_memory_mb", "versions"),
    *("metrics", "single_changes", "claims", "fingerprint", "canary"),
)


class Receipt:
    """Collects a run's numbers; `finish` adds time, device, memory, versions, fingerprint and canary."""

    def __init__(self, week: int, notebook: str | Path, preset: str, size: str, seed: int):
        self._began = time.perf_counter()
        self._notebook = Path(notebook)
        self._rows: dict[str, Any] = {
            "week": week,
            "notebook": self._notebook.stem,
            "preset": preset,
            "size": size,
            "seed": seed,
        }
        self._metrics: dict[str, dict[str, Any]] = {}
        self._changes: dict[str, dict[str, Any]] = {}
        self._claims: list[dict[str, Any]] = []

    def metric(
        self,
        name: str,
        value: float,
        baseline: float | None = None,
        chance: float | None = None,
        higher_is_better: bool = True,
    ) -> None:
        """Note a measured value beside its baseline and the value that guessing gives."""
        row = {"value": value, "baseline": baseline, "chance": chance}
        for key, number in row.items():
            if (number is not None or key == "value") and not _is_number(number):
                raise ValueError(f"Metric {name!r} has {key} {number!r}: give a finite number.")
        rounded = {key: None if number is None else float(number) for key, number in row.items()}
        self._metrics[name] = rounded | {"higher_is_better": higher_is_better}

    def changes(self, model: str, rows: Mapping[str, Mapping[str, float]]) -> None:
        """Note forced-choice accuracies per single change: {change: {"value": accuracy, "n": scenes}}."""
        for change, row in rows.items():
            if not _is_number(row.get("value")) or not _is_number(row.get("n")):
                raise ValueError(f"Change {change!r} of {model!r} is {dict(row)!r}: give finite numbers value and n.")
        self._changes[model] = {
            change: {"value": float(row["value"]), "n": int(row["n"])} for change, row in rows.items()
        }

    def claim(self, row: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> None:
        """Note one claim, or all that `experiments.claims.claim_results` returned."""
        self._claims += [dict(row)] if isinstance(row, Mapping) else [dict(one) for one in row]

    def finish(self, canary: Sequence[float] | Callable[[], Sequence[float]] | None = None) -> dict[str, Any]:
        """The receipt as a dictionary, written to the file that $TINYVLM_RECEIPT names, if any.

        canary: the first losses of a seeded smoke run; None asks `tinyvlm.experiments.weekNN.canary()`.
        """
        from tinyvlm.training import hardware

        seconds = time.perf_counter() - self._began  # before the canary, which is no part of the chapter
        peak = hardware.peak_memory_mb()
        if canary is None:
            canary = import_module(f"tinyvlm.experiments.week{self._rows['week']:02d}").canary
        losses = canary() if callable(canary) else canary
        notebook = _find(self._notebook)
        receipt = self._rows | {
            "date": datetime.now(UTC).date().isoformat(),
            "device": hardware.device_name(),
            "seconds": round(seconds, 1),
            "peak_memory_mb": None if peak is None else round(peak, 1),
            "versions": versions(),
            "metrics": self._metrics,
            "single_changes": self._changes,
            "claims": self._claims,
            # Empty where the notebook has no file beside the kernel, as in Colab: such a run is nobody's receipt.
            "fingerprint": fingerprint(notebook) if notebook else "",
            "canary": [float(loss) for loss in losses[:CANARY_STEPS]],
        }
        target = os.environ.get(VARIABLE)
        if target:
            write_json(Path(target), receipt)
        return receipt


def read_receipt(path: str | Path) -> dict[str, Any]:
    """Read a receipt. Raises FileNotFoundError or ValueError, in one sentence, when it is missing or incomplete."""
    receipt = read_json(Path(path), "Receipt", REMEDY)
    missing = [key for key in KEYS if key not in receipt]
    if missing:
        raise ValueError(f"Receipt {path} lacks {', '.join(missing)}: {REMEDY}.")
    return receipt


def status(
    receipt: Mapping[str, Any], notebook: str | Path, canary: Callable[[], Sequence[float]] | None = None
) -> str:
    """ "fresh" when the code is the receipt's, "equivalent" when it only trains as that did, else "stale".

    canary: computes today's canary; asked only when the fingerprint differs (None: such a receipt is stale).
    """
    if receipt["fingerprint"] == fingerprint(notebook):
        return "fresh"
    return "equivalent" if canary is not None and agree(receipt["canary"], canary()) else "stale"


def agree(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two canaries are the same to 1e-4, relative for losses above 1."""
    same = len(one) == len(other) > 0
    return same and all(abs(a - b) <= TOLERANCE * max(1.0, abs(a)) for a, b in zip(one, other, strict=True))


def verify(receipt: Mapping[str, Any], notebook: str | Path) -> list[str]:
    """What is wrong with publishing this receipt beside this notebook, a sentence each; empty when all is well."""
    name = Path(notebook).name
    wrong = [f"The receipt of {name} lacks {key}: {REMEDY}." for key in KEYS if key not in receipt]
    if receipt.get("notebook") != Path(notebook).stem:
        wrong.append(f"The receipt belongs to {receipt.get('notebook')!r}, not to {name}: {REMEDY}.")
    if receipt.get("preset") not in ("cpu", "gpu"):
        wrong.append(f"{name} was run with preset {receipt.get('preset')!r}, not with cpu or gpu: {REMEDY}.")
    if not _is_number(receipt.get("seconds")) or receipt["seconds"] <= 0:
        wrong.append(f"The receipt of {name} took {receipt.get('seconds')!r} seconds, which no run does: {REMEDY}.")
    for metric, row in dict(receipt.get("metrics") or {}).items():
        value = row.get("value") if isinstance(row, Mapping) else row
        if not _is_number(value):
            wrong.append(f"Metric {metric!r} of {name} is {value!r}, not a finite number: {REMEDY}.")
    if not receipt.get("metrics"):
        wrong.append(f"The receipt of {name} holds no metric: {REMEDY}.")
    return wrong + _output_faults(Path(notebook))


def _output_faults(path: Path) -> list[str]:
    cells = read_json(path, "Notebook", "give the path of an .ipynb file").get("cells", [])
    code = [cell for cell in cells if cell.get("cell_type") == "code"]
    outputs = [(cell.get("id", "?"), output) for cell in code for output in cell.get("outputs", [])]
    if not outputs:
        return [f"{path.name} has a receipt but no outputs, so it was not run: {REMEDY}."]
    return [
        f"Cell {name} of {path.name} ended in {output.get('ename', 'an error')}: mend it and {REMEDY}."
        for name, output in outputs
        if output.get("output_type") == "error"
    ]


def versions() -> dict[str, str]:
    """Versions of Python and of the installed libraries that a result may depend on."""
    found = {"python": python_version()}
    for name in ("tinyvlm", "torch", "numpy", "accelerate", "tokenizers", "transformers"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _find(notebook: Path) -> Path | None:
    places = (notebook, Path.cwd() / notebook.name, Path.cwd() / "notebooks" / notebook.name)
    return next((place.with_suffix(".ipynb") for place in places if place.with_suffix(".ipynb").is_file()), None)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(float(value))
