"""The command `course`. Every command is a few lines here; the work is in the modules it calls."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from coursekit.load import find_root, load_course
from coursekit.schema import Course, Week

app = typer.Typer(
    help="Run the course: chapters, claims, checks and the site. Start with `course list`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)

WeekNumber = Annotated[int, typer.Argument(metavar="WEEK", help="number of the week, 1 to 14")]
Preset = Annotated[str | None, typer.Option(help="smoke, cpu or gpu (default: what the hardware allows)")]


def main() -> None:
    """Entry point: mistakes of the user end in one message on stderr and exit status 1, without a traceback."""
    from coursekit.build import BuildError
    from coursekit.runner import RunError

    try:
        app()
    except (ValueError, OSError, RunError, BuildError) as error:  # CourseError is a ValueError
        err.print(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        err.print("Stopped. Files are as they were; finished claim jobs stay and are not run again.")
        sys.exit(130)


def _course() -> tuple[Path, Course]:
    root = find_root()
    return root, load_course(root)


@app.command("list")
def list_weeks() -> None:
    """The weeks, their papers, chapters and receipts."""
    from coursekit.receipts import proof

    root, course = _course()
    title = f"{course.group.name}, season {course.group.season}: {course.group.subject}"
    table = Table(title=title, title_justify="left")
    for column in ("week", "date", "paper", "speaker", "talks", "chapter", "receipt"):
        table.add_column(column)
    for week in course.weeks:
        found = proof(root, week) if week.notebook and (root / week.notebook).is_file() else None
        chapter = Path(week.notebook).name if week.notebook else "not written yet"
        if week.notebook and found is None:
            chapter += " (missing)"
        table.add_row(
            str(week.week),
            week.date.isoformat(),
            week.short,
            week.speaker_name or "",
            str(len(week.public_talks)),
            chapter,
            found.label if found else "",
        )
    wide = Console(width=None if out.is_terminal else 140, highlight=False)
    wide.print(table)


@app.command()
def run(
    week: WeekNumber,
    preset: Preset = None,
    size: Annotated[str | None, typer.Option(help="model size, for example micro or small")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="first run the week's claims with so many seeds")] = None,
) -> None:
    """Run a chapter; outputs and receipt are replaced together when every cell passed. `smoke` replaces neither."""
    from coursekit.progress import CellProgress
    from coursekit.receipts import duration
    from coursekit.runner import run_chapter
    from coursekit.verify import added

    root, course = _course()
    chosen = course.week(week)
    check_choices(chosen, preset, size)
    if seeds is not None:
        claims(week, preset, seeds)
    with CellProgress(out) as progress:
        more = lambda done: added(root, chosen, done, progress)  # noqa: E731
        outcome = run_chapter(root, chosen, progress, preset=preset, size=size, more=more)
    receipt = outcome.receipt or {}
    if receipt.get("preset") == "smoke":
        out.print(f"Every cell ran, in {duration(outcome.seconds)}. A smoke run is a trial: nothing was written.")
    else:
        out.print(f"Ran in {duration(outcome.seconds)}. Written: {chosen.notebook} and {chosen.receipt}.")
        if not receipt.get("commit"):
            out.print("The core had changes that no commit holds: commit first, and the receipt can name its commit.")


@app.command()
def claims(
    week: WeekNumber,
    preset: Preset = None,
    seeds: Annotated[int, typer.Option(min=1, help="seeds of every arm")] = 3,
    most_seeds: Annotated[int, typer.Option(min=1, help="seeds of an undecided headline claim")] = 5,
    jobs: Annotated[int, typer.Option(min=1, help="one-thread processes side by side")] = 2,
) -> None:
    """Run the arms of the week's claims over several seeds; stop it any time, it goes on where it was."""
    from tinyvlm.experiments.claims import run_claims

    root, course = _course()
    chosen = course.week(week)
    check_choices(chosen, preset, None)
    folder = root / "notebooks" / "receipts" / "claims"
    rows = run_claims(chosen.week, preset, seeds, max(seeds, most_seeds), jobs, folder)
    for row in rows:
        low, high = row.get("interval") or (None, None)
        interval = f", 95 % interval {low:.3f} to {high:.3f}" if low is not None and high is not None else ""
        out.print(f"{row['kind']}: {row['statement']}\n    {row['verdict']}{interval}", markup=False)


@app.command("verify")
def verify_weeks(
    week: Annotated[int | None, typer.Argument(metavar="[WEEK]", help="number of the week (default: all)")] = None,
) -> None:
    """Run the smoke experiment of a chapter; stamp its receipt when every number is the same, else change nothing."""
    from coursekit.progress import CellProgress
    from coursekit.verify import verify

    root, course = _course()
    chosen = [course.week(week)] if week else [one for one in course.weeks if one.notebook]
    failed = False
    for one in chosen:
        with CellProgress(out) as progress:
            found = verify(root, one, progress)
            progress.clear()
        failed |= bool(found.differences)
        if found.differences:
            out.print(f"Week {one.week}: not the same numbers; nothing was changed.", markup=False)
            for line in found.differences:
                out.print(f"    {line}", markup=False)
        else:
            out.print(f"Week {one.week}: the same numbers; receipt and {found.jobs} claim jobs hold.", markup=False)
    if failed:
        raise typer.Exit(1)


@app.command()
def why(week: WeekNumber) -> None:
    """Which modules and data files have changed since the chapter's run; exit status 1 when any has."""
    from coursekit.verify import reasons

    root, course = _course()
    names = reasons(root, course.week(week))
    for name in names:
        out.print(name, markup=False)
    if names:
        raise typer.Exit(1)
    out.print(f"Nothing has changed since the run of week {week}.", markup=False)


@app.command()
def check(
    week: WeekNumber,
    smoke: Annotated[bool, typer.Option(help="also run the chapter in the smoke preset")] = True,
) -> None:
    """Everything a chapter must satisfy before it is published."""
    from coursekit.checks import check_chapter
    from coursekit.progress import CellProgress

    root, course = _course()
    chosen = course.week(week)
    failed = 0
    with CellProgress(out) as progress:
        for name, found in check_chapter(root, course, chosen, progress, smoke=smoke):
            progress.clear()
            out.print(f"{'fails' if found else 'ok   '}  {name}", markup=False)
            for problem in found:
                out.print(f"       {problem}", markup=False)
            failed += bool(found)
    if failed:
        err.print(f"Week {week} is not ready: {failed} {'check fails' if failed == 1 else 'checks fail'}.")
        raise typer.Exit(1)
    out.print(f"Week {week} is ready.")


@app.command()
def build(
    output: Annotated[Path | None, typer.Option(help="folder of the site (default: _build/html)")] = None,
    publish: Annotated[bool, typer.Option(help="refuse missing receipts, and those of other code")] = False,
) -> None:
    """Build the site, warnings being errors; the old site stays until the new one is complete."""
    from coursekit.build import build_site

    root, _ = _course()
    built = build_site(root, output, publish=publish, say=lambda line: out.print(line, markup=False))
    out.print(f"Look at it with `course serve`, or open {built / 'index.html'} (without search).", markup=False)


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one")] = 8000,
    folder: Annotated[Path | None, typer.Option(help="folder of the site (default: _build/html)")] = None,
) -> None:
    """Show the built site on this machine until Ctrl-C."""
    from coursekit.serve import make_server

    root, _ = _course()
    server = make_server(folder or root / "_build" / "html", port)
    out.print(f"http://{server.server_address[0]!s}:{server.server_port}/  (Ctrl-C stops)", markup=False)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        out.print("Stopped.")
    finally:
        server.server_close()


@app.command()
def new(
    week: WeekNumber,
    name: Annotated[str | None, typer.Option(help="the model's module, as in beit (default: from `short`)")] = None,
) -> None:
    """Begin a week's chapter: model, experiments, notebook and tests from templates, which run as they are."""
    from coursekit.new import new_week

    root, _ = _course()
    for path in new_week(root, week, name):
        out.print(path, markup=False)
    out.print(f"Write the paper's model, then run `course run {week} --preset smoke` and `course check {week}`.")


@app.command()
def fork(
    url: Annotated[str, typer.Argument(metavar="URL", help="https://github.com/OWNER/NAME")],
    branch: Annotated[str | None, typer.Option(help="branch that Colab opens and installs (default: as it is)")] = None,
) -> None:
    """Point badges, set-up cells and links at another repository or branch."""
    from coursekit.fork import point_at

    root, _ = _course()
    changed = point_at(root, url, branch)
    out.print("Changed: " + ", ".join(changed) if changed else f"Everything already points at {url}.", markup=False)


def check_choices(week: Week, preset: str | None, size: str | None) -> None:
    """ValueError, naming what is allowed, for a preset that does not exist or a size that the week's model lacks."""
    from tinyvlm.experiments.presets import PRESETS

    if preset is not None and preset not in PRESETS:
        raise ValueError(f"Unknown preset {preset!r}: choose one of {', '.join(PRESETS)}.")
    name = f"tinyvlm.experiments.week{week.week:02d}"
    if size is None or importlib.util.find_spec(name) is None:
        return
    week_module = importlib.import_module(name)
    week_module.budget(preset or PRESETS[0], size)
