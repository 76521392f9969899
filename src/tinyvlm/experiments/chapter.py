"""What every chapter's notebook does in the same way: begin, show source, hold its claims against runs, finish.

    PRESET, BUDGET, receipt = chapter.start("week05_albef.ipynb")       # first cell
    chapter.show_claims(week05, receipt, live={"ALBEF": found})         # the claims, their stored runs, the live one
    chapter.finish(receipt, history, model, "albef")                    # last cell

Nothing here trains. IPython is imported where something is shown, so that the module loads without it.
"""

import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from operator import itemgetter
from types import ModuleType
from typing import Any

from tinyvlm import viz, zoo
from tinyvlm.data.changes import LABELS
from tinyvlm.experiments import claims, presets
from tinyvlm.metrics.contrasts import Contrast, ContrastTable
from tinyvlm.models.base import PaperModel
from tinyvlm.training.history import History
from tinyvlm.training.receipts import Receipt
from tinyvlm.viz.tables import Table, number, table

Week = ModuleType | int
Metrics = Mapping[str, float]
Row = dict[str, Any]


class StoredChanges(dict[str, Contrast]):
    """A row of single changes, {change: Contrast}, each a mean over `seeds` stored runs (0 where none is stored)."""

    seeds: int = 0


def start(notebook: str, seed: int = 0, preset: str | None = None) -> tuple[str, Any, Receipt]:
    """The preset's name, its budget and a receipt whose clock runs, for the notebook of this file name.

    The number in the name says which week's budgets and receipt these are. preset: None asks $TINYVLM_PRESET and the
    hardware. ValueError for a name that does not begin with weekNN_, an unknown preset or an unknown size.
    """
    found = re.match(r"week(\d\d)_", notebook)
    if not found:
        raise ValueError(f"The notebook is called {notebook!r}: name it weekNN_name.ipynb, as in week05_albef.ipynb.")
    name = presets.preset(preset)
    budget = _module(int(found[1])).budget(name)
    # A week that trains nothing has no sizes.
    receipt = Receipt(int(found[1]), notebook, name, getattr(budget, "size", "no model"), seed)
    return name, budget, receipt


def stored(preset: str | None = None) -> str:
    """The preset whose stored runs a chapter shows: `gpu` under gpu, else `cpu`, since smoke runs mean nothing."""
    return "gpu" if presets.preset(preset) == "gpu" else "cpu"


def source(*objects: Any) -> None:
    """Show the source of functions, methods or classes as one highlighted text."""
    from IPython.display import Code, display

    parts = [textwrap.dedent(inspect.getsource(one)).rstrip() for one in objects]
    # A Code object: `course run` knows its LaTeX twin and its style sheet, and stores neither more often than needed.
    display(Code("\n\n\n".join(parts) + "\n", language="python"))


def show_claims(
    week: Week,
    receipt: Receipt,
    also: Iterable[tuple[Week, str]] = (),
    preset: str | None = None,
    *,
    live: Mapping[str, Metrics] | None = None,
    seed: int = 0,
) -> list[Row]:
    """Show a week's claims, the headline first, with their stored runs, and note them in the receipt.

    Each claim has its verdict, its arms (mean, range, runs, seeds), the interval of what it computes, and a plot by
    seed. A claim with one seed or none is not tested, and has no plot.
    also: (week, claim id) of other weeks' claims that are shown behind; the receipt does not get these.
    live: {arm: metrics} of this notebook's own runs with this seed. Each claim is judged again with them in place of
    the stored runs of that seed, and is undecided where the verdicts differ. A smoke run says nothing and is left out.
    Returns the rows of `claim_results` in the order shown. ValueError for a claim that a week does not have.
    """
    from IPython.display import display

    own = sorted(claims.claim_results(week, preset=stored(preset)), key=lambda row: row["kind"] != "headline")
    if live and presets.preset(preset) == stored(preset):
        own = claims.with_live(week, own, live, seed, preset=stored(preset))
    receipt.claim(own)
    others = [(_number(beside), _claim(beside, name, preset)) for beside, name in also]
    for other, row in [*((None, row) for row in own), *others]:
        markdown = plain = claim_text(row, f" of week {other}" if other else "")
        if row["seeds"]:
            arms = claim_table(row)
            markdown, plain = f"{markdown}\n\n{arms._repr_markdown_()}", f"{plain}\n\n{arms}"
        display({"text/markdown": markdown, "text/plain": plain}, raw=True)
        measured = {arm: values for arm, values in row["per_seed"].items() if len(values) > 1}
        if measured:
            shown = {key: row[key] for key in ("interval", "margin", "metric", "verdict", "quantity")}
            viz.show(viz.per_seed_plot(measured, row["difference"], **shown))
    return [*own, *(row for _, row in others)]


def claim_text(row: Row, of: str = "") -> str:
    """Kind, verdict, runs and statement of a row of `claim_results`, and its verdict with a live run, as Markdown."""
    count = len(row["seeds"])
    runs = f"{count} seed{'s' * (count > 1)}, loaded, of {row['state']} code" if count else "no stored runs"
    text = f"**{row['kind'].capitalize()}{of}: {row['verdict']}** ({runs}). {row['statement']}"
    if not (live := row.get("live")):
        return text
    bounds = live["interval"] and f", 95 % interval {number(live['interval'][0])} to {number(live['interval'][1])}"
    place = row["seeds"].index(live["seed"])
    return (
        f"{text} The live run of seed {live['seed']} gives {number(live['difference'])}, the stored one "
        f"{number(row['difference'][place])}. With the live run: {live['verdict']}{bounds or ''}. "
        f"With the stored one: {live['stored']}."
    )


def claim_table(row: Row) -> Table:
    """A row of `claim_results` as a table: one line an arm, then what the claim computes with its 95 % interval."""
    seeds = ", ".join(map(str, row["seeds"]))
    lines: dict[str, list[Any]] = {
        arm: [*_spread(values), len(values), seeds] if values else [None, None, None, None]
        for arm, values in row["per_seed"].items()
    }
    bounds = row["interval"] and f"95 % interval {number(row['interval'][0])} to {number(row['interval'][1])}"
    label = f"*{row['quantity']}, to exceed {row['margin']:g}*"
    lines[label] = [*_spread(row["difference"])[:1], bounds, len(row["seeds"]), seeds]
    return table(lines, ("mean", "range", "runs", "seeds"), head=row["metric"])


def arms_table(
    week: Week,
    columns: Sequence[str] | Mapping[str, Callable[[Metrics], float]],
    live: Mapping[str, Metrics],
    *,
    prefix: str = "",
    arms: Iterable[str] | None = None,
    untrained: Mapping[str, Iterable[str]] | None = None,
    seed: int = 0,
    preset: str | None = None,
) -> Table:
    """A table of arms: the run made live here, then each arm's stored runs as mean and range over seeds.

    columns: names of metrics, looked up behind `prefix`, or {name: function of an arm's metrics}; what an arm lacks is
    a dash. live: {arm: metrics} of this notebook's own runs, of this seed and preset.
    arms: which, in which order (None: all of the week's). untrained: {column: arms} whose number there is no result,
    since the part that gives it was never trained.
    """
    found = claims.arm_results(week, preset=stored(preset))
    values = columns if isinstance(columns, Mapping) else {name: itemgetter(prefix + name) for name in columns}

    def cells(arm: str, runs: Sequence[Metrics]) -> list[str | int | None]:
        trained = {name: arm not in (untrained or {}).get(name, ()) for name in values}
        return [*(_summary(value, runs) if trained[name] else None for name, value in values.items()), len(runs)]

    lines = {}
    for arm in _module(week).ARMS if arms is None else arms:
        if arm in live:
            lines[f"{arm}, seed {seed}, **live** ({presets.preset(preset)})"] = cells(arm, [live[arm]])
        if found.get(arm):
            lines[f"{arm}, loaded"] = cells(arm, [run["metrics"] for run in found[arm].values()])
    return table(lines, [*(LABELS.get(name, name) for name in values), "seeds"], head=prefix.rstrip(": ") or "run")


def stored_changes(
    week: Week, arm: str, like: Mapping[str, Contrast], preset: str | None = None, prefix: str = ""
) -> StoredChanges:
    """A row of single changes: an arm's stored runs, mean over seeds; empty where no run is stored.

    like: this notebook's own row, whose numbers of scenes it takes over. prefix: stands before the metrics' names.
    """
    runs = [run["metrics"] for run in claims.arm_results(week, preset=stored(preset)).get(arm, {}).values()]
    row = StoredChanges()
    if runs:
        row |= {name: Contrast(_mean([run[prefix + name] for run in runs]), own.n) for name, own in like.items()}
        row.seeds = len(runs)
    return row


def note_changes(
    receipt: Receipt,
    name: str,
    week: Week,
    arm: str,
    live: Mapping[str, Contrast],
    *,
    budget: str,
    preset: str | None = None,
    prefix: str = "",
) -> None:
    """Note a row of the course's table: an arm's stored runs, mean over seeds, and where there is none the live run.

    budget: world and training in words, which a reader needs to compare rows ("1–2 objects, 700 updates").
    """
    row = stored_changes(week, arm, live, preset, prefix)
    receipt.changes(name, ContrastTable({name: row or live}).to_dict()[name], seeds=row.seeds or 1, budget=budget)


def finish(
    receipt: Receipt,
    history: History | None = None,
    model: PaperModel | None = None,
    name: str | None = None,
    *,
    baseline: History | None = None,
) -> dict[str, Any]:
    """The last cell: note what the training cost, close the receipt, say so in one line. Returns the receipt.

    model: left for the zoo as `name`-size, which only `course run` takes, and never after a smoke run.
    baseline: the training that the first is compared with.
    """
    if history is not None:
        rate, seconds = (None, None) if baseline is None else (baseline.samples_per_second, baseline.seconds)
        receipt.metric("training samples per second", history.samples_per_second, baseline=rate)
        receipt.metric("training seconds", history.seconds, baseline=seconds, higher_is_better=False)
    paper = receipt.finish()
    if model is not None and name is not None and paper["preset"] != "smoke":
        zoo.offer(f"{name}-{paper['size']}", model, paper)
    peak = paper["peak_memory_mb"]
    memory = "" if peak is None else f", peak memory {peak:,.0f} MB"
    print(f"{paper['preset']} run on {paper['device']}: {paper['seconds']:.0f} s{memory}")
    return paper


def _module(week: Week) -> ModuleType:
    return week if isinstance(week, ModuleType) else import_module(f"tinyvlm.experiments.week{week:02d}")


def _number(week: Week) -> int:
    return week if isinstance(week, int) else int(week.__name__[-2:])


def _claim(week: Week, name: str, preset: str | None) -> Row:
    rows = {row["id"]: row for row in claims.claim_results(week, preset=stored(preset))}
    if name not in rows:
        raise ValueError(f"Week {_number(week)} has no claim {name!r}: choose one of {', '.join(rows)}.")
    return rows[name]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _spread(values: Sequence[float]) -> tuple[float, str | None]:
    """Mean, and the range in words; one value has none."""
    return _mean(values), f"{number(min(values))}–{number(max(values))}" if len(values) > 1 else None


def _summary(value: Callable[[Metrics], float], runs: Iterable[Metrics]) -> str | None:
    """Mean and range of a value of those runs that have it; None where none has."""
    found = []
    for metrics in runs:
        with suppress(KeyError):
            found.append(value(metrics))
    if not found:
        return None
    mean, span = _spread(found)
    return f"{number(mean)}<br>{span}" if span else number(mean)
