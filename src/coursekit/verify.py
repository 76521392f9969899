"""Whether changed code still gives the numbers of a chapter's run: `course verify` and `course why`.

The code of a receipt may change by refactoring. Its canary, the smoke experiment of the headline arm, is then run once
and compared with the one that was kept with the run; where they agree, receipt and claims are stamped with the new
code. A notebook whose own cells changed is run in preset smoke, too. Data that went into a run has no canary: after
another file only another run gives a receipt.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from coursekit.files import write_text
from coursekit.receipts import proof
from coursekit.runner import Progress, execute
from coursekit.schema import Week
from tinyvlm.training.fingerprint import notebook_code
from tinyvlm.training.receipts import read_receipt

CORE = "src/tinyvlm"
WEIGHTS = "src/tinyvlm/zoo/weights"


@dataclass(frozen=True)
class Verified:
    """What `verify` found: `differences`, empty when all numbers are the same, and how many claim jobs hold."""

    differences: list[str]
    jobs: int


def verify(root: Path, week: Week, progress: Progress) -> Verified:
    """Run the week's canary; stamp receipt and claims when every number is that of the run, else change nothing.

    ValueError for a week without a receipt, RuntimeError when the canary fails, `RunError` when the notebook does.
    """
    from tinyvlm import evidence
    from tinyvlm.experiments.canary import compare_metrics, differences, run_canary, week_module
    from tinyvlm.experiments.store import Store

    found = proof(root, week)
    if found is None or found.state == "none":
        raise ValueError(f"Week {week.week} has no receipt to verify: run the chapter with `course run {week.week}`.")
    receipt, notebook = found.data, root / str(week.notebook)
    missing = [key for key in ("canary", "smoke", "settings") if key not in receipt]
    if missing:
        raise ValueError(
            f"{week.receipt} keeps no {', '.join(missing)} to compare with: run the chapter with `course run "
            f"{week.week}`."
        )
    wrong = [f"{name} is another file than the run read" for name in evidence.changed_inputs(receipt["inputs"])]
    if wrong:
        return Verified(wrong, 0)  # no canary can speak for other data
    now = notebook_code(notebook, receipt["inputs"])
    canary, settings = run_canary(week.week)
    wrong += differences(receipt["canary"], canary)
    if receipt["settings"] != settings[receipt["preset"]]:
        wrong += _changed_settings(receipt["settings"], settings[receipt["preset"]])
    if now["notebook"] != receipt["code"].get("notebook"):
        wrong += compare_metrics(receipt["smoke"], smoke_numbers(root, week, progress), one_example=True)
    store = Store(week_module(week.week), root / "notebooks" / "receipts" / "claims")
    jobs = store.check(canary, settings)
    wrong += [f"claims, {arm}, seed {seed} ({preset}): {rows[0]}" for (preset, arm, seed), rows in jobs.items()]
    if wrong:
        return Verified(wrong, 0)
    date = datetime.now(UTC).date().isoformat()
    if store.rows["jobs"]:
        store.stamp(canary, date)
    if now != receipt["code"]:
        receipt["verified"] = {"date": date, "commit": commit(root), "code": now}
        write_receipt(root, week, receipt)
    return Verified([], len(store.rows["jobs"]))


def added(root: Path, week: Week, preset: str, progress: Progress) -> dict[str, Any]:
    """What a new receipt is given for later: canary and smoke numbers of its code, its settings, its commit."""
    from tinyvlm.experiments.canary import run_canary

    canary, settings = run_canary(week.week)
    smoke = smoke_numbers(root, week, progress)
    return {"canary": canary, "smoke": smoke, "settings": settings[preset], "commit": commit(root)}


def smoke_numbers(root: Path, week: Week, progress: Progress) -> dict[str, float]:
    """The metrics of the whole notebook in preset smoke on one core, without those that are times."""
    receipt = execute(root, week, progress, preset="smoke", threads=1).receipt or {}
    metrics = receipt.get("metrics", {})
    return {name: row["value"] for name, row in metrics.items() if "second" not in name}


def commit(root: Path) -> str:
    """The commit that holds the core as it stands; empty when there is none, or when the core has been edited since."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True)
    status = ["git", "status", "--porcelain", "--", CORE, f":(exclude){WEIGHTS}"]
    edited = subprocess.run(status, cwd=root, capture_output=True, text=True)
    clean = head.returncode == 0 and edited.returncode == 0 and not edited.stdout.strip()
    return head.stdout.strip() if clean else ""


def reasons(root: Path, week: Week) -> list[str]:
    """Names of what has changed since the week's run; empty when nothing has. ValueError without a receipt."""
    path = root / week.receipt
    if week.notebook is None or not path.is_file():
        raise ValueError(f"Week {week.week} has no receipt: run the chapter with `course run {week.week}`.")
    read_receipt(path)
    found = proof(root, week)
    return list(found.standing.changed) if found else []


def write_receipt(root: Path, week: Week, receipt: dict[str, Any]) -> None:
    write_text(root / week.receipt, json.dumps(receipt, indent=1, ensure_ascii=False) + "\n")


def _changed_settings(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [
        f"{key} of arm {arm!r} was {then.get(arm, {}).get(key)!r} and is {now.get(arm, {}).get(key)!r}"
        for arm in {**then, **now}
        for key in {**then.get(arm, {}), **now.get(arm, {})}
        if then.get(arm, {}).get(key) != now.get(arm, {}).get(key)
    ]
