"""A week's claim results: one file of finished jobs, the code each came from, and whether it still holds.

    {"week": "week05",
     "codes": {digest: {"modules": {module: hash}, "canary": {...}}},
     "verified": {"date": ..., "modules": {module: hash}, "canary": {...}},
     "jobs": [{"arm", "seed", "preset", "code": digest, "date", "seconds", "settings", "inputs", "metrics",
               "verified": whether it holds under the verified code}]}

A running job leaves its record in a folder beside the file; `absorb` moves finished records into the file. A job is in
the states of a receipt: "this", "verified" or "changed".
"""

import hashlib
import json
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from tinyvlm import evidence
from tinyvlm.experiments.canary import Canary, Settings, differences
from tinyvlm.files import read_json, write_json
from tinyvlm.training.fingerprint import module_code

REMEDY = "restore it from version control, or delete it and run `course claims` again"
RECORD = ("arm", "seed", "preset", "modules", "date", "seconds", "settings", "inputs", "metrics")

Jobs = list[dict[str, Any]]
Key = tuple[str, str, int]  # preset, arm, seed


class Store:
    """The results of one week. `folder` is where the claims of all weeks lie (None: those that the package brings)."""

    def __init__(self, week: ModuleType, folder: str | Path | None = None):
        self.week, self.name = week, week.__name__.rpartition(".")[2]
        place = Path(folder) if folder is not None else evidence.folder() / "claims"
        self.path, self.pending = place / f"{self.name}.json", place / f".{self.name}"
        self.rows: dict[str, Any] = {"week": self.name, "codes": {}, "jobs": []}
        if self.path.is_file():
            self.rows = read_json(self.path, "File of claim results", REMEDY)
            missing = [key for key in ("week", "codes", "jobs") if key not in self.rows]
            if missing:
                raise ValueError(f"File of claim results {self.path} lacks {', '.join(missing)}: {REMEDY}.")

    def jobs(self, preset: str) -> Jobs:
        """The jobs of a preset, each with its `state`."""
        if self.path.parent == evidence.folder() / "claims":  # what lies elsewhere has no name that `digest` knows
            evidence.note(f"claims/{self.name}/{preset}")
        asked = [job for job in self.rows["jobs"] if job["preset"] == preset]
        # Most jobs read the same files, and the way through the imports costs a quarter of a second.
        now = {read: self.code(read) for read in {frozenset(job["inputs"]) for job in asked}}
        return [job | {"state": self._state(job, now[frozenset(job["inputs"])])} for job in asked]

    def code(self, inputs: Iterable[str] | None = None) -> dict[str, str]:
        """The code of this week's jobs as it is now; `inputs` are what a job read, None what any of them did."""
        read = {name for job in self.rows["jobs"] for name in job["inputs"]} if inputs is None else inputs
        return module_code(self.week.__name__, self.week.__file__, read)

    def absorb(self) -> None:
        """Move finished records from the folder of running jobs into the file; the newest of an arm and seed stays."""
        paths = sorted(self.pending.glob("*.json"))
        for path in paths:
            record = read_json(path, "Claim result", "delete it and run `course claims` again")
            missing = [key for key in RECORD if key not in record]
            if missing:
                raise ValueError(
                    f"Claim result {path} lacks {', '.join(missing)}: delete it and run `course claims` again."
                )
            modules = record.pop("modules")
            record["code"] = _digest(modules)
            code = self.rows["codes"].setdefault(record["code"], {"modules": modules})
            stamp = self.rows.get("verified")
            if stamp and stamp["modules"].items() <= modules.items():
                code.setdefault("canary", stamp["canary"])
            kept = [job for job in self.rows["jobs"] if _key(job) != _key(record)]
            self.rows["jobs"] = sorted([*kept, record], key=_key)
        if paths:
            self.save()
        for path in paths:
            path.unlink()
        if self.pending.is_dir() and not any(self.pending.iterdir()):
            self.pending.rmdir()

    def check(self, canary: Canary, settings: Settings) -> dict[Key, list[str]]:
        """What of each job the present code contradicts: (preset, arm, seed) -> phrases, for jobs that do not hold."""
        found = {}
        for job in self.rows["jobs"]:
            then = self.rows["codes"].get(job["code"], {}).get("canary")
            wrong = ["no canary was kept for its code"] if then is None else differences(then, canary)
            wrong += _changed_settings(job["settings"], settings.get(job["preset"], {}).get(job["arm"]))
            wrong += [f"{name} is another file now" for name in evidence.changed_inputs(job["inputs"])]
            if wrong:
                found[_key(job)] = wrong
        return found

    def stamp(self, canary: Canary, date: str, wrong: Container[Key] = ()) -> None:
        """Note that the present code gives `canary`, and which jobs hold under it: all but `wrong`."""
        for job in self.rows["jobs"]:
            job["verified"] = _key(job) not in wrong
        self.rows["verified"] = {"date": date, "modules": self.code(), "canary": canary}
        self.save()

    def knows(self) -> bool:
        """Whether the canary of the present code is known."""
        stamp = self.rows.get("verified") or {"modules": {"nothing": ""}}
        return bool(stamp["modules"].items() <= self.code().items())

    def save(self) -> None:
        used = {job["code"] for job in self.rows["jobs"]}
        self.rows["codes"] = {key: value for key, value in self.rows["codes"].items() if key in used}
        write_json(self.path, self.rows)

    def _state(self, job: Mapping[str, Any], now: Mapping[str, str]) -> str:
        if evidence.changed_inputs(job["inputs"]):
            return "changed"
        if self.rows["codes"].get(job["code"], {}).get("modules") == now:
            return "this"
        stamp = self.rows.get("verified") or {"modules": {}}
        return "verified" if job.get("verified") and now.items() <= stamp["modules"].items() else "changed"


def _changed_settings(then: Mapping[str, Any], now: Mapping[str, Any] | None) -> list[str]:
    if now is None:
        return ["the arm is no longer there"]
    return [
        f"its {key} was {then.get(key)!r} and is {now.get(key)!r}"
        for key in {**then, **now}
        if then.get(key) != now.get(key)
    ]


def _key(job: Mapping[str, Any]) -> Key:
    return job["preset"], job["arm"], job["seed"]


def _digest(modules: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(modules, sort_keys=True).encode()).hexdigest()[:12]
