"""Receipts: what a complete run of a chapter measured, on what, with which code and which data.

receipt = Receipt(3, "week03_clip.ipynb", preset, "micro", seed=0)      # first cell: starts the clock
receipt.metric("R@1 image to text", 0.97, chance=1 / 512)
receipt.finish()                                                        # last cell

A receipt is in one of three states (`standing`). "this": notebook, core and data are those of the run. "verified": the
code has changed since, and `course verify` found that it gives the same smoke numbers. "changed": neither.
"""

import math
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from numbers import Real
from pathlib import Path
from platform import python_version
from typing import Any

from tinyvlm import evidence
from tinyvlm.evidence import changed_inputs, noted
from tinyvlm.files import read_json, write_json
from tinyvlm.training.fingerprint import changed, core_code, notebook_code

VARIABLE = "TINYVLM_RECEIPT"
REMEDY = "run the chapter with `make week N=…` to write a new one"
KEYS = (
    *("week", "notebook", "preset", "size", "seed", "date", "device", "seconds", "peak_memory_mb", "versions"),
    *("metrics", "single_changes", "claims", "code", "inputs"),
)
# Only newer receipts say over how many seeds a row of single changes is a mean.
NEWER = ("single_change_runs",)
# What `course run` adds: smoke numbers of this code, what the budgets were, the commit that holds the core.
ADDED = ("canary", "smoke", "settings", "commit")
STATES = ("this", "verified", "changed")


class Receipt:
    """Collects a run's numbers; `finish` adds time, device, memory, versions, code and data."""

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
        self._change_runs: dict[str, dict[str, Any]] = {}
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

    def changes(self, model: str, rows: Mapping[str, Mapping[str, float]], seeds: int = 1, budget: str = "") -> None:
        """Note forced-choice accuracies per single change: {change: {"value": accuracy, "n": scenes}}.

        seeds: over how many seeds the accuracies are means. budget: the world and the training in words ("1–2 objects,
        700 updates"), which a reader needs to compare rows. ValueError for a number that is none, or no seed.
        """
        if seeds < 1:
            raise ValueError(f"The row {model!r} is a mean over {seeds} seeds: give at least 1, or leave the row out.")
        for change, row in rows.items():
            if not _is_number(row.get("value")) or not _is_number(row.get("n")):
                raise ValueError(f"Change {change!r} of {model!r} is {dict(row)!r}: give finite numbers value and n.")
        self._changes[model] = {
            change: {"value": float(row["value"]), "n": int(row["n"])} for change, row in rows.items()
        }
        self._change_runs[model] = {"seeds": int(seeds), "budget": budget}

    def claim(self, row: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> None:
        """Note one claim, or all that `experiments.claims.claim_results` returned."""
        self._claims += [dict(row)] if isinstance(row, Mapping) else [dict(one) for one in row]

    def finish(self) -> dict[str, Any]:
        """The receipt as a dictionary, written to the file that $TINYVLM_RECEIPT names, if any."""
        from tinyvlm.training import hardware

        peak = hardware.peak_memory_mb()
        notebook, inputs = _find(self._notebook), noted()
        receipt = self._rows | {
            "date": datetime.now(UTC).date().isoformat(),
            "device": hardware.device_name(),
            "seconds": round(time.perf_counter() - self._began, 1),
            "peak_memory_mb": None if peak is None else round(peak, 1),
            "versions": versions(),
            "metrics": self._metrics,
            "single_changes": self._changes,
            "single_change_runs": self._change_runs,
            "claims": self._claims,
            # Empty where the notebook has no file beside the kernel, as in Colab: such a run is nobody's receipt.
            "code": notebook_code(notebook, inputs) if notebook else {},
            "inputs": inputs,
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


@dataclass(frozen=True)
class Standing:
    """A receipt's state, and why: what has changed since the run, and when the changed code was verified."""

    state: str
    changed: tuple[str, ...] = ()
    verified: str = ""


def standing(receipt: Mapping[str, Any], notebook: str | Path) -> Standing:
    """The state of a receipt beside its notebook and this core. Only hashes are compared; nothing runs."""
    inputs = tuple(changed_inputs(receipt["inputs"]))
    now = notebook_code(notebook, receipt["inputs"])
    names = (*changed(receipt["code"], now), *inputs)
    if not names:
        return Standing("this")
    stamp = receipt.get("verified") or {}
    if not inputs and stamp.get("code") == now:
        return Standing("verified", names, stamp["date"])
    return Standing("changed", names)


def core_difference(week: int) -> str:
    """One sentence where the installed core is not the one behind a week's stored outputs, else an empty string.

    It names what differs and the command for exactly that core. Silent while the outputs are being made, and for a core
    that was verified to give the same smoke numbers.
    """
    path = evidence.folder() / f"week{week:02d}.json"
    if os.environ.get(VARIABLE) or not path.is_file():
        return ""
    receipt = read_receipt(path)
    stamp = receipt.get("verified") or {}
    now = core_code(receipt["code"])
    then = {name: value for name, value in receipt["code"].items() if name in now}
    if now in (then, {name: value for name, value in stamp.get("code", {}).items() if name in now}):
        return ""
    names = changed(then, now)
    said = ", ".join(names[:3]) + (f" and {len(names) - 3} more modules" if len(names) > 3 else "")
    commit = stamp.get("commit") or receipt.get("commit")
    remedy = f'pip install "tinyvlm @ git+{repository()}@{commit}"' if commit else "no commit was noted with the run"
    return f"The installed core differs in {said} from the one behind the outputs stored below; for that one: {remedy}"


def repository() -> str:
    """The address of the course's repository, as the installed package knows it."""
    try:
        urls = metadata.metadata("tinyvlm").get_all("Project-URL") or []
    except metadata.PackageNotFoundError:
        urls = []
    return next((url.partition(",")[2].strip() for url in urls if url.startswith("Repository,")), "")


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
