"""What a chapter must satisfy before it is published: `course check WEEK`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nbformat

from coursekit.consistency import problems
from coursekit.runner import Progress, RunError, execute
from coursekit.schema import Course, Week

OUTPUT_LIMIT = 400 * 1024  # bytes of stored outputs: an executed notebook stays in the history for ever
SMOKE_LIMIT = 20.0  # seconds of work of one core, kernel start and imports included
_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_GENERATED_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){0,3}(-[0-9a-f]{12})?")
_HOME = re.compile(r"(/home/|/Users/|/root/|/work/|/tmp/|C:\\\\Users)[^\s\"']*")
ALT_LENGTH = 15


class Check(NamedTuple):
    """One thing looked at: `problems` is empty when it is in order."""

    name: str
    problems: list[str]


Cells = list[Any]


def check_chapter(root: Path, course: Course, week: Week, progress: Progress, *, smoke: bool = True) -> Iterator[Check]:
    """Every check of the week's chapter, one after another. ValueError for a week without one."""
    if week.notebook is None:
        raise ValueError(f"Week {week.week} has no chapter to check yet: `course list` shows which weeks have one.")
    yield Check("course.yml, _toc.yml and notebooks agree", problems(root, course))
    path = root / week.notebook
    if not path.is_file():
        return
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # nbformat raises its own, jsonschema's and json's errors
        yield Check("the notebook is valid", [f"{week.notebook}: {str(error).splitlines()[0]}"])
        return
    yield Check("the notebook is valid", [])
    for name, find in CELL_CHECKS.items():
        yield Check(name, [f"{week.notebook}: {found}" for found in find(notebook.cells)])
    yield Check("the receipt belongs to this notebook and holds", _receipt(root, week))
    if smoke:
        yield Check(
            f"every cell runs in the smoke preset within {SMOKE_LIMIT:.0f} s on one core", _smoke(root, week, progress)
        )


def cell_ids(cells: Cells) -> list[str]:
    """Ids are readable, so that slides, translations and exercises can name a cell, and differ."""
    found, seen = [], set()
    for i, cell in enumerate(cells):
        name = cell.get("id", "")
        if not _ID.fullmatch(name) or _GENERATED_ID.fullmatch(name):
            found.append(f"cell {i} has the id {name!r}: give it a readable one such as train-model")
        if name in seen:
            found.append(f"two cells have the id {name!r}: rename one")
        seen.add(name)
    return found


def title(cells: Cells) -> list[str]:
    """The page starts with its one heading of level one: the header card stands under it."""
    prose = [re.sub(r"```.*?```", "", cell.source, flags=re.S) for cell in cells if cell.cell_type == "markdown"]
    heads = re.findall(r"^# .+", "\n".join(prose), flags=re.M)
    if not cells or not cells[0].source.lstrip().startswith("# ") or len(heads) != 1:
        return [f"has {len(heads)} headings of level one: start the first cell with the only one"]
    return []


def executed(cells: Cells) -> list[str]:
    """Every code cell was run, in order, in one run."""
    counts = [
        (cell.get("id"), cell.get("execution_count"))
        for cell in cells
        if cell.cell_type == "code" and cell.source.strip()
    ]
    if not any(count for _, count in counts):
        return ["has no stored outputs: run it with `course run`"]
    wrong = [name for place, (name, count) in enumerate(counts, 1) if count != place]
    return [f"cell {wrong[0]!r} was not run in one run from the top: run it with `course run`"] if wrong else []


def stored_errors(cells: Cells) -> list[str]:
    """No output is an error."""
    return [
        f"cell {cell.get('id')!r} stores the error {output.ename}: mend it and run the chapter again"
        for cell in cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "error"
    ]


def alt_text(cells: Cells) -> list[str]:
    """Every cell that shows a picture says in words what it shows, in `mystnb.image.alt` of its metadata."""
    found = []
    for cell in cells:
        if cell.cell_type == "code" and any("image/png" in o.get("data", {}) for o in cell.outputs):
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            if len(alt.strip()) < ALT_LENGTH or re.search(r"\.(png|jpe?g|svg|webp)$", alt):
                found.append(
                    f"cell {cell.get('id')!r} shows a picture without alt text: say in its metadata, under "
                    "mystnb.image.alt, what a reader sees in it"
                )
        elif cell.cell_type == "markdown" and re.search(r"!\[\s*\]\(", cell.source):
            found.append(f"cell {cell.get('id')!r} has an image without alt text: write ![what it shows](file)")
    return found


def output_size(cells: Cells) -> list[str]:
    """Stored outputs stay small."""
    size = sum(len(json.dumps(cell.outputs)) for cell in cells if cell.cell_type == "code")
    if size <= OUTPUT_LIMIT:
        return []
    largest = max((c for c in cells if c.cell_type == "code"), key=lambda c: len(json.dumps(c.outputs)))
    return [
        f"stores {size / 1024:.0f} KiB of outputs, and {OUTPUT_LIMIT / 1024:.0f} KiB are allowed: make the figures "
        f"of cell {largest.get('id')!r}, the largest, smaller or fewer"
    ]


def machine_paths(cells: Cells) -> list[str]:
    """No output shows where somebody's files lie."""
    found = []
    for cell in cells:
        text = json.dumps(cell.outputs) if cell.cell_type == "code" else ""
        if match := _HOME.search(re.sub(r'"image/[a-z+]+": "[^"]*"', "", text)):
            found.append(f"cell {cell.get('id')!r} shows the path {match[0]}: print names, not places")
    return found


def exercises(cells: Cells) -> list[str]:
    """Every exercise has a stub, a check and a solution: as many cells of one kind as of the others."""
    counts = {
        tag: sum(tag in cell.metadata.get("tags", []) for cell in cells)
        for tag in ("exercise-stub", "exercise-check", "solution")
    }
    if len(set(counts.values())) == 1:
        return []
    said = ", ".join(f"{count} {tag}" for tag, count in counts.items())
    return [f"has {said}: every exercise has one of each"]


CELL_CHECKS: dict[str, Callable[[Cells], list[str]]] = {
    "one title, on top": title,
    "cell ids are readable and differ": cell_ids,
    "every cell was run, in order": executed,
    "no stored errors": stored_errors,
    "every figure has alt text": alt_text,
    f"outputs take at most {OUTPUT_LIMIT // 1024} KiB": output_size,
    "no paths of a machine": machine_paths,
    "exercises are complete": exercises,
}


def _receipt(root: Path, week: Week) -> list[str]:
    from coursekit.receipts import proof
    from tinyvlm.training.receipts import read_receipt, verify

    path, notebook = root / week.receipt, root / str(week.notebook)
    if not path.is_file():
        return [f"{week.receipt} is missing: run the chapter with `course run {week.week}`"]
    try:
        found = list(verify(read_receipt(path), notebook))
        state = proof(root, week)
    except ValueError as error:
        return [str(error)]
    if state and state.state == "changed":
        found.append(
            f"{week.receipt} is of other code ({state.names}): `course verify {week.week}` says whether the numbers "
            f"are the same, else run the chapter again with `course run {week.week}`"
        )
    return found


def _smoke(root: Path, week: Week, progress: Progress) -> list[str]:
    try:
        outcome = execute(root, week, progress, preset="smoke", threads=1)
    except RunError as error:
        return [str(error)]
    if outcome.worked <= SMOKE_LIMIT:
        return []
    cell, seconds = outcome.slowest
    return [f"took {outcome.worked:.1f} s of one core: the slowest cell is {cell!r} with {seconds:.1f} s"]
