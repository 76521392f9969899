"""Evidence that travels with the package: receipts, claim results, and which data a run has read.

In a checkout receipts and claim results lie in `notebooks/receipts`; an installed package carries copies of them, so
that a notebook opened anywhere shows its claims. `note` is called where data is read, so that a run's record can say
which files went into it: a changed file is not seen in any line of code.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent

_read: set[str] = set()


def folder() -> Path:
    """Where receipts and, below `claims`, the results of claims lie. The folder need not exist."""
    inside = PACKAGE / "evidence"
    return inside if inside.is_dir() else PACKAGE.parents[1] / "notebooks" / "receipts"


def note(name: str) -> None:
    """Remember that this process has read `data/FILE`, `zoo/NAME` or `claims/WEEK/PRESET`."""
    _read.add(name)


def noted() -> dict[str, str]:
    """What this process has read so far: name -> digest."""
    return {name: digest(name) for name in sorted(_read)}


def digest(name: str, package: Path | None = None) -> str:
    """Twelve hex digits of what is read under a name that `note` knows; empty when it is not there."""
    kind, _, rest = name.partition("/")
    if kind == "claims":
        week, _, preset = rest.partition("/")
        path = folder() / "claims" / f"{week}.json"
        if not path.is_file():
            return ""
        jobs = json.loads(path.read_text(encoding="utf-8"))["jobs"]
        return _hash([json.dumps(row, sort_keys=True).encode() for row in _measured(jobs, preset)])
    place = (package or PACKAGE) / ("zoo/weights" if kind == "zoo" else "data/assets") / rest
    files = [place] if place.is_file() else sorted(place.glob("*")) if place.is_dir() else []
    # Provenance names the run that made the weights; the weights are what goes into a result.
    contents = [path.read_bytes() for path in files if path.name != "provenance.json"]
    return _hash(contents) if contents else ""


def changed_inputs(before: dict[str, str]) -> list[str]:
    """Names of `before` whose content is another one now."""
    return [name for name, value in before.items() if digest(name) != value]


def _measured(jobs: list[dict[str, Any]], preset: str) -> Iterator[list[Any]]:
    """What of a week's jobs is a result; when and with which code they ran is not."""
    rows = [[job["arm"], job["seed"], job["settings"], job["metrics"]] for job in jobs if job["preset"] == preset]
    yield from sorted(rows, key=lambda row: (row[0], row[1]))


def _hash(contents: Iterable[bytes]) -> str:
    whole = hashlib.sha256()
    for content in contents:
        whole.update(len(content).to_bytes(8, "big") + content)
    return whole.hexdigest()[:12]
