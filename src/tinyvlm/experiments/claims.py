"""Claims and their evidence: jobs (one arm, one seed) run in a queue that can be stopped and gone on with.

    python -m tinyvlm.experiments.claims WEEK ARM SEED PRESET OUT

is one job; `run_claims` starts those that are missing, `claim_results` reads what is there.

A week's module holds CLAIMS, `run_arm(arm, seed, preset, progress)`, which returns metrics, and `canary()`, the losses
of a seeded smoke run. `settings(arm, preset)`, optional, says what an arm spends: a job with other settings is stale.
"""

import json
import re
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib import import_module, util
from pathlib import Path
from types import ModuleType
from typing import Any

from tinyvlm.experiments.presets import preset as checked_preset
from tinyvlm.experiments.queue import Job, run_jobs
from tinyvlm.experiments.verdicts import KINDS, UNDECIDED, Claim, interval, verdict
from tinyvlm.files import read_json, write_json
from tinyvlm.training.fingerprint import module_fingerprint
from tinyvlm.training.receipts import agree

__all__ = ["KINDS", "Claim", "arm_results", "claim_results", "interval", "run_claims", "verdict"]

STATES = ("fresh", "equivalent", "stale")
Results = dict[str, dict[int, dict[str, Any]]]  # arm -> seed -> the job's record


def run_claims(
    module: ModuleType | str | int,
    preset: str | None = None,
    seeds: int = 3,
    most_seeds: int = 5,
    jobs: int = 2,
    folder: str | Path | None = None,
) -> list[dict[str, Any]]:
    """Run what is missing of a week's claims and return them in the receipt's format (see `claim_results`).

    Every arm runs with seeds 0 … seeds-1, `jobs` one-thread processes side by side; the arms of a headline claim that
    is still undecided go on to `most_seeds`. A finished job is one file and is not run again, unless the code changed
    and its canary with it. Raises RuntimeError after the other jobs when some failed, KeyboardInterrupt on Ctrl-C;
    finished jobs stay in either case.
    """
    week, name = _week(module), checked_preset(preset)
    if not 1 <= seeds <= most_seeds:
        raise ValueError(f"seeds={seeds} and most_seeds={most_seeds}: give 1 <= seeds <= most_seeds.")
    place = _folder(week, folder)
    failures = _run(week, name, place, _arms(week.CLAIMS), range(seeds), jobs)
    rows = claim_results(week, place, name)
    open_claims = [c for c in week.CLAIMS if c.kind == "headline" and _row(rows, c).get("verdict") == UNDECIDED]
    if open_claims and most_seeds > seeds and not failures:
        print(f"Undecided after {seeds} seeds: {', '.join(c.id for c in open_claims)}; going on to {most_seeds}.")
        failures = _run(week, name, place, _arms(open_claims), range(seeds, most_seeds), jobs)
        rows = claim_results(week, place, name)
    if failures:
        raise RuntimeError(
            f"{len(failures)} of the jobs failed ({'; '.join(failures)}): mend the cause and give the same command "
            f"again; finished jobs are kept in {place}."
        )
    return rows


def claim_results(
    module: ModuleType | str | int, folder: str | Path | None = None, preset: str | None = None
) -> list[dict[str, Any]]:
    """The week's claims judged by the finished jobs in `folder`; a claim without a complete seed is undecided.

    Keys: id, statement, kind, metric, arms, margin, seeds (complete in all arms), per_seed (arm -> numbers, none where
    an arm has no such metric), difference (one a seed), interval ([low, high], or None below two seeds), verdict, and
    state: "fresh", "equivalent" or "stale" as the worst of the jobs behind it, None without any.
    """
    week = _week(module)
    found = arm_results(week, folder, preset)
    rows = []
    for claim in week.CLAIMS:
        arms = {arm: found.get(arm, {}) for arm in claim.arms}
        seeds = sorted(set.intersection(*(set(runs) for runs in arms.values())))
        used = {arm: [runs[seed] for seed in seeds] for arm, runs in arms.items()}
        differences = [
            float(claim.difference({arm: used[arm][i]["metrics"] for arm in claim.arms})) for i in range(len(seeds))
        ]
        bounds = interval(differences)
        states = [record["state"] for records in used.values() for record in records]
        rows.append(
            {
                "id": claim.id,
                "statement": claim.statement,
                "kind": claim.kind,
                "metric": claim.metric,
                "arms": list(claim.arms),
                "margin": claim.margin,
                "seeds": seeds,
                "per_seed": {arm: _numbers(claim, records) for arm, records in used.items()},
                "difference": differences,
                "interval": None if bounds is None else list(bounds),
                "verdict": verdict(differences, claim.margin),
                "state": max(states, key=STATES.index) if states else None,
            }
        )
    return rows


def arm_results(module: ModuleType | str | int, folder: str | Path | None = None, preset: str | None = None) -> Results:
    """Finished jobs: arm -> seed -> {"metrics", "seconds", "date", "preset", "state", ...}.

    Of several files for one arm and seed a fresh one is taken before an equivalent and that before a stale one, then
    the newest. The week's canary is computed only when some job has no fresh file.
    """
    week, name = _week(module), checked_preset(preset)
    records = list(_records(_folder(week, folder), name))
    now = _fingerprint(week)
    fresh = {(r["arm"], r["seed"]) for r in records if r["fingerprint"] == now}
    canary = week.canary() if any((r["arm"], r["seed"]) not in fresh for r in records) else []
    for record in records:
        # The canary trains the smoke budget: it cannot see that another preset's numbers were edited.
        like = record.get("settings") == _settings(week, record["arm"], name) and agree(record["canary"], canary)
        record["state"] = "fresh" if record["fingerprint"] == now else "equivalent" if like else "stale"
    results: Results = {}
    for record in sorted(records, key=lambda r: (-STATES.index(r["state"]), r["date"])):
        results.setdefault(record["arm"], {})[record["seed"]] = record
    return results


def run_job(week: str, arm: str, seed: int, preset: str, out: Path) -> None:
    """One arm with one seed; its record is written to `out` when all of it is measured."""
    module = _week(week)
    arms = _arms(module.CLAIMS)
    if arm not in arms:
        raise ValueError(f"Arm {arm!r} is in no claim of week {week}: choose one of {', '.join(arms)}.")
    name = checked_preset(preset)
    fingerprint = _fingerprint(module)  # before the run: a file edited meanwhile is not what ran
    began = time.perf_counter()
    metrics = module.run_arm(arm, seed, name, progress=_report())
    record = {
        "week": week,
        "arm": arm,
        "seed": seed,
        "preset": name,
        "fingerprint": fingerprint,
        "settings": _settings(module, arm, name),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - began, 1),
        "metrics": {key: float(value) for key, value in metrics.items()},
        "canary": [float(loss) for loss in module.canary()],
    }
    write_json(out, record)


def _run(
    week: ModuleType, preset: str, folder: Path, arms: Sequence[str], seeds: Iterable[int], jobs: int
) -> list[str]:
    """Run the jobs without a fresh or equivalent record. Returns the failures, a line each."""
    there = arm_results(week, folder, preset)
    mark = _fingerprint(week)[:12]
    missing = []
    for seed in seeds:
        for arm in arms:
            if there.get(arm, {}).get(seed, {}).get("state", "stale") != "stale":
                continue
            out = folder / f"{preset}-{re.sub(r'[^a-z0-9]+', '-', arm.lower()).strip('-')}-seed{seed}-{mark}.json"
            words = (week.__name__, arm, str(seed), preset, str(out.resolve()))
            missing.append(Job(f"{arm}, seed {seed}", (sys.executable, "-m", "tinyvlm.experiments.claims", *words)))
    return run_jobs(missing, jobs)


def _records(folder: Path, preset: str) -> Iterable[dict[str, Any]]:
    for path in sorted(folder.glob(f"{preset}-*.json")):
        record = read_json(path, "Claim result", "delete it and run `course claims` again")
        missing = [key for key in ("arm", "seed", "fingerprint", "canary", "metrics", "date") if key not in record]
        if missing:
            raise ValueError(
                f"Claim result {path} lacks {', '.join(missing)}: delete it and run `course claims` again."
            )
        yield record


def _report() -> Any:
    """Tell the queue how far the job is, at most twice a second."""
    last = 0.0

    def report(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > 0.5 or done == total:
            last = time.monotonic()
            print(f"{Job.MARK} {done} {total}", flush=True)

    return report


def _numbers(claim: Claim, records: list[dict[str, Any]]) -> list[float]:
    metrics = [record["metrics"] for record in records]
    if claim.value is not None:
        return [float(claim.value(row)) for row in metrics]
    return [row[claim.metric] for row in metrics] if all(claim.metric in row for row in metrics) else []


def _arms(claims: Iterable[Claim]) -> list[str]:
    return list(dict.fromkeys(arm for claim in claims for arm in claim.arms))


def _row(rows: list[dict[str, Any]], claim: Claim) -> dict[str, Any]:
    return next(row for row in rows if row["id"] == claim.id)


def _week(module: ModuleType | str | int) -> ModuleType:
    """A week's experiments by number, module name or module. ValueError when the week has none."""
    if isinstance(module, ModuleType):
        return module
    text = str(module)
    name = f"tinyvlm.experiments.week{int(text):02d}" if text.isdigit() else text
    if text.isdigit() and util.find_spec(name) is None:
        here = sorted(path.stem for path in Path(__file__).parent.glob("week*.py"))
        raise ValueError(f"Week {text} has no experiments: those with some are {', '.join(here) or 'none'}.")
    return import_module(name)


def _fingerprint(week: ModuleType) -> str:
    return module_fingerprint(week.__name__, week.__file__)


def _settings(week: ModuleType, arm: str, preset: str) -> Any:
    """What a week's optional `settings(arm, preset)` says an arm spends, as plain JSON values."""
    return json.loads(json.dumps(week.settings(arm, preset))) if hasattr(week, "settings") else None


def _folder(week: ModuleType, folder: str | Path | None) -> Path:
    """`folder`, or notebooks/receipts/claims/weekNN of the checkout that the working directory is in."""
    if folder is not None:
        return Path(folder)
    inside = Path("notebooks", "receipts", "claims", week.__name__.rpartition(".")[2])
    root = next((above for above in (Path.cwd(), *Path.cwd().parents) if (above / "notebooks").is_dir()), Path.cwd())
    return root / inside


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit("usage: python -m tinyvlm.experiments.claims WEEK ARM SEED PRESET OUT")
    run_job(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], Path(sys.argv[5]))
