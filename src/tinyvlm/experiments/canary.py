"""A week's canary: the whole smoke experiment of its headline arm, whose numbers a change of the code would move.

    python -m tinyvlm.experiments.canary tinyvlm.experiments.week05

prints it as JSON, with the settings of every arm and preset. Lessons, training, fine-tuning and
evaluation all run, in seconds: a slower rate shows in the losses, another metric or split in the measurements.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from fractions import Fraction
from importlib import import_module, util
from pathlib import Path
from types import ModuleType
from typing import Any

TOLERANCE = 1e-4  # of losses and other numbers: relative above 1, absolute below
FEWEST = 16  # a share of so few examples, or fewer, may move by one in so many

Settings = dict[str, dict[str, dict[str, Any]]]  # preset -> arm -> what it is and spends
Canary = dict[str, Any]  # {"arm": name, "losses": [[one number a step] for each training], "metrics": {name: number}}


def week_module(week: ModuleType | str | int) -> ModuleType:
    """A week's experiments by number, module name or module. ValueError when the week has none."""
    if isinstance(week, ModuleType):
        return week
    text = str(week)
    name = f"tinyvlm.experiments.week{int(text):02d}" if text.isdigit() else text
    if text.isdigit() and util.find_spec(name) is None:
        here = sorted(path.stem for path in Path(__file__).parent.glob("week[0-9][0-9].py"))
        raise ValueError(f"Week {text} has no experiments: those with some are {', '.join(here) or 'none'}.")
    return import_module(name)


def settings(week: ModuleType, arm: str, preset: str) -> dict[str, Any]:
    """What an arm is and what a preset spends, as plain JSON values: a result of other settings is not this arm's."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(week.ARMS[arm]) | asdict(week.BUDGETS[preset])))
    return found


def canary(week: ModuleType | str | int) -> Canary:
    """Train and measure the headline arm in preset smoke, seed 0, here and now. Seconds are left out."""
    from tinyvlm.training.history import watch

    module = week_module(week)
    arm = module.CLAIMS[0].arms[0]
    with watch() as trainings:
        metrics = module.run_arm(arm, 0, "smoke")
    return {
        "arm": arm,
        "losses": [[float(loss) for loss in history.loss] for history in trainings],
        "metrics": {name: float(value) for name, value in metrics.items() if "seconds" not in name},
    }


def run_canary(week: ModuleType | str | int) -> tuple[Canary, Settings]:
    """The canary, and the settings of all presets and arms, from a process of its own: one thread, on the CPU.

    Raises RuntimeError with the process's last line when it fails.
    """
    name = week.__name__ if isinstance(week, ModuleType) else week_module(week).__name__
    quiet = {key: value for key, value in os.environ.items() if not key.startswith("TINYVLM_")}
    threads = {key: "1" for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-m", "tinyvlm.experiments.canary", name],
        env=quiet | threads | {"CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true", "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"The canary of {name.rpartition('.')[2]} failed ({said}): mend the week's smoke preset.")
    told = json.loads(done.stdout.strip().splitlines()[-1])
    return told["canary"], told["settings"]


def differences(before: Canary, now: Canary) -> list[str]:
    """What two canaries disagree on, a phrase each with both values; empty when they are the same.

    Losses and other numbers are compared to 1e-4. Shares in a week that trains may differ by one example: another
    processor rounds sums in another order, and one close call may turn.
    """
    found = [] if before["arm"] == now["arm"] else [f"the headline arm was {before['arm']!r} and is {now['arm']!r}"]
    if [len(one) for one in before["losses"]] != [len(one) for one in now["losses"]]:
        lengths = [", ".join(str(len(one)) for one in each["losses"]) or "none" for each in (before, now)]
        return [*found, f"updates of the trainings were {lengths[0]} and are {lengths[1]}"]
    for number, (then, today) in enumerate(zip(before["losses"], now["losses"], strict=True), 1):
        for step, (a, b) in enumerate(zip(then, today, strict=True), 1):
            if not _close(a, b):
                found.append(f"loss {step} of training {number} was {a:.6g} and is {b:.6g}")
                break
    trained = bool(now["losses"])
    return found + compare_metrics(before["metrics"], now["metrics"], one_example=trained)


def compare_metrics(before: Mapping[str, float], now: Mapping[str, float], one_example: bool) -> list[str]:
    """The same for measurements alone."""
    found = [f"{name!r} is measured {'no longer' if name in before else 'only now'}" for name in before.keys() ^ now]
    for name in [name for name in before if name in now]:
        a, b = before[name], now[name]
        if not (_close(a, b) or (one_example and _within_one_example(a, b))):
            found.append(f"{name!r} was {a:.6g} and is {b:.6g}")
    return found


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= TOLERANCE * max(1.0, abs(a))


def _within_one_example(a: float, b: float) -> bool:
    """Whether two shares differ by one of the examples that their fractions tell of."""
    if not (0 <= a <= 1 and 0 <= b <= 1):
        return False
    parts = [Fraction(value).limit_denominator(4096).denominator for value in (a, b)]
    return abs(a - b) <= 1.0001 / max(FEWEST, math.lcm(*parts))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tinyvlm.experiments.canary WEEK")
    _week = week_module(sys.argv[1])
    _settings = {preset: {arm: settings(_week, arm, preset) for arm in _week.ARMS} for preset in _week.BUDGETS}
    print(json.dumps({"canary": canary(_week), "settings": _settings}))
