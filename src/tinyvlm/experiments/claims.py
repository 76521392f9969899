"""Claims and their evidence: jobs (one arm, one seed) run in a queue that can be stopped and gone on with.

    python -m tinyvlm.experiments.claims WEEK ARM SEED PRESET OUT

is one job; `run_claims` starts those that are missing, `claim_results` reads what is there and trains nothing.

A week's module holds CLAIMS, ARMS and BUDGETS (frozen dataclasses by arm and by preset), and
`run_arm(arm, seed, preset, progress)`, which returns metrics.
"""

import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from tinyvlm.evidence import noted
from tinyvlm.experiments.canary import run_canary, settings, week_module
from tinyvlm.experiments.presets import preset as checked_preset
from tinyvlm.experiments.queue import Job, run_jobs
from tinyvlm.experiments.store import Store
from tinyvlm.experiments.verdicts import KINDS, NOT_TESTED, UNDECIDED, Claim, Metrics, interval, quantity, verdict
from tinyvlm.files import write_json
from tinyvlm.training.fingerprint import module_code
from tinyvlm.training.receipts import STATES

__all__ = [
    "KINDS",
    "Claim",
    "arm_results",
    "claim_results",
    "interval",
    "run_claims",
    "settings",
    "verdict",
    "with_live",
]

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
    is still undecided go on to `most_seeds`. A finished job is kept in the week's file and is not run again, unless
    the code, its canary or the arm's settings changed. Raises RuntimeError after the other jobs when some failed,
    KeyboardInterrupt on Ctrl-C; finished jobs stay in either case.
    """
    week, name = week_module(module), checked_preset(preset)
    if not 1 <= seeds <= most_seeds:
        raise ValueError(f"seeds={seeds} and most_seeds={most_seeds}: give 1 <= seeds <= most_seeds.")
    if jobs < 1:
        raise ValueError(f"jobs={jobs} would run nothing: give at least 1.")
    place = Store(week, folder).path.parent
    _verify_once(week, place)
    failures = _run(week, name, place, _arms(week.CLAIMS), range(seeds), jobs)
    rows = claim_results(week, place, name)
    unsettled = (UNDECIDED, NOT_TESTED)
    open_claims = [c for c in week.CLAIMS if c.kind == "headline" and _row(rows, c).get("verdict") in unsettled]
    if open_claims and most_seeds > seeds and not failures:
        names = ", ".join(claim.id for claim in open_claims)
        print(f"Undecided after {seeds} seed{'s' * (seeds > 1)}: {names}; going on to {most_seeds}.")
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
    """The week's claims judged by the finished jobs in `folder`; a claim with fewer than two seeds is not tested.

    Keys: id, statement, kind, metric, arms, margin, seeds (complete in all arms), per_seed (arm -> numbers, none where
    an arm has no such metric), difference (what the claim computes, one a seed), quantity (what that is called),
    interval ([low, high], or None below two seeds), verdict, and state: "this", "verified" or "changed" as the worst of
    the jobs behind it, None without any.
    """
    week = week_module(module)
    found = arm_results(week, folder, preset)
    rows = []
    for claim in week.CLAIMS:
        arms = {arm: found.get(arm, {}) for arm in claim.arms}
        seeds = sorted(set.intersection(*(set(runs) for runs in arms.values())))
        used = {arm: [runs[seed] for seed in seeds] for arm, runs in arms.items()}
        differences = [
            float(claim.difference({arm: used[arm][i]["metrics"] for arm in claim.arms})) for i in range(len(seeds))
        ]
        per_seed = {arm: _numbers(claim, records) for arm, records in used.items()}
        bounds, judged = claim.judge(differences)
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
                "per_seed": per_seed,
                "difference": differences,
                "quantity": quantity(per_seed, differences),
                "interval": bounds,
                "verdict": judged,
                "state": max(states, key=STATES.index) if states else None,
            }
        )
    return rows


def with_live(
    module: ModuleType | str | int,
    rows: Iterable[Mapping[str, Any]],
    live: Mapping[str, Metrics],
    seed: int = 0,
    folder: str | Path | None = None,
    preset: str | None = None,
) -> list[dict[str, Any]]:
    """The rows of `claim_results`, each judged a second time with this seed's live runs in place of its stored ones.

    live: {arm: metrics} of runs made just now with the budgets of `preset`. A row that they touch gets a key "live":
    seed, arms, difference, interval, verdict, and stored, the verdict of the stored runs alone. Where the two verdicts
    differ the row is undecided: what one repetition overturns is not known. Rows that the runs do not touch, because
    an arm, the seed or a metric is not theirs, stay as they are.
    """
    week = week_module(module)
    found = arm_results(week, folder, preset)
    claims = {claim.id: claim for claim in week.CLAIMS}
    judged = []
    for row in map(dict, rows):
        judged.append(row)
        arms = [arm for arm in row["arms"] if arm in live]
        if not arms or seed not in row["seeds"]:
            continue
        try:
            now = float(
                claims[row["id"]].difference(
                    {arm: live[arm] if arm in live else found[arm][seed]["metrics"] for arm in row["arms"]}
                )
            )
        except KeyError:  # the live run did not measure what the claim compares
            continue
        place = row["seeds"].index(seed)
        differences = [*row["difference"][:place], now, *row["difference"][place + 1 :]]
        bounds, second = claims[row["id"]].judge(differences)
        row["live"] = {
            "seed": seed,
            "arms": arms,
            "difference": now,
            "interval": bounds,
            "verdict": second,
            "stored": row["verdict"],
        }
        if second != row["verdict"]:
            row["verdict"] = UNDECIDED
    return judged


def arm_results(module: ModuleType | str | int, folder: str | Path | None = None, preset: str | None = None) -> Results:
    """Finished jobs: arm -> seed -> {"metrics", "seconds", "date", "preset", "settings", "state", ...}.

    `folder` is where the claims of all weeks lie; None for those that came with the package.
    """
    results: Results = {}
    for job in Store(week_module(module), folder).jobs(checked_preset(preset)):
        results.setdefault(job["arm"], {})[job["seed"]] = job
    return results


def run_job(week: str, arm: str, seed: int, preset: str, out: Path) -> None:
    """One arm with one seed; its record is written to `out` when all of it is measured."""
    module = week_module(week)
    arms = _arms(module.CLAIMS)
    if arm not in arms:
        raise ValueError(f"Arm {arm!r} is in no claim of week {week}: choose one of {', '.join(arms)}.")
    name = checked_preset(preset)
    before = module_code(module.__name__, module.__file__)  # a file edited meanwhile is not what ran
    began = time.perf_counter()
    metrics = module.run_arm(arm, seed, name, progress=_report())
    inputs = noted()
    record = {
        "week": week,
        "arm": arm,
        "seed": seed,
        "preset": name,
        "modules": module_code(module.__name__, module.__file__, inputs) | before,
        "settings": settings(module, arm, name),
        "inputs": inputs,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - began, 1),
        "metrics": {key: float(value) for key, value in metrics.items()},
    }
    write_json(out, record)


def _verify_once(week: ModuleType, folder: Path) -> None:
    """Before jobs run: the canary of code that has none yet, which also says which older jobs still hold."""
    store = Store(week, folder)
    store.absorb()
    if not store.knows():
        print("The code is new or has changed: running its canary.", flush=True)
        canary, today = run_canary(week)
        store.stamp(canary, datetime.now(UTC).date().isoformat(), store.check(canary, today))


def _run(
    week: ModuleType, preset: str, folder: Path, arms: Sequence[str], seeds: Iterable[int], jobs: int
) -> list[str]:
    """Run the jobs that are missing or of changed code. Returns the failures, a line each."""
    store = Store(week, folder)
    valid = {(job["arm"], job["seed"]) for job in store.jobs(preset) if job["state"] != "changed"}
    missing = []
    for seed in seeds:
        for arm in arms:
            if (arm, seed) not in valid:
                name = f"{preset}-{re.sub(r'[^a-z0-9]+', '-', arm.lower()).strip('-')}-seed{seed}.json"
                words = (week.__name__, arm, str(seed), preset, str((store.pending / name).resolve()))
                command = (sys.executable, "-m", "tinyvlm.experiments.claims", *words)
                missing.append(Job(f"{arm}, seed {seed}", command))
    try:
        return run_jobs(missing, jobs)
    finally:
        store.absorb()


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


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit("usage: python -m tinyvlm.experiments.claims WEEK ARM SEED PRESET OUT")
    run_job(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], Path(sys.argv[5]))
