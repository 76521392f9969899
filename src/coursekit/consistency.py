"""Whether `course.yml`, `_toc.yml` and the notebooks tell the same story."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from coursekit.load import NAME, parse_course
from coursekit.schema import Course, Week
from tinyvlm import __version__

SETUP = "setup"  # id of the cell that installs the core


def toc_pages(root: Path) -> list[str]:
    """Document names in `_toc.yml`, in order. FileNotFoundError or ValueError when it cannot be read."""
    path = root / "_toc.yml"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: it gives the order of the site's pages.")
    pages: list[str] = []

    def walk(node: Any) -> None:
        if isinstance(node, list):
            for child in node:
                walk(child)
        elif isinstance(node, dict):
            for key in ("root", "file"):
                if key in node:
                    pages.append(re.sub(r"\.(md|ipynb)$", "", str(node[key])))
            for key in ("parts", "chapters", "sections"):
                walk(node.get(key))

    try:
        walk(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise ValueError(f"_toc.yml is not YAML: {error}") from None
    return pages


def problems(root: Path, course: Course) -> list[str]:
    """One sentence for everything on which the three disagree; empty when they agree."""
    found: list[str] = []
    pages = toc_pages(root)
    listed = [page for page in pages if re.search(r"(^|/)week\d\d", page)]
    wanted = [week.page for week in course.weeks]
    for week in course.weeks:
        if week.page not in listed:
            found.append(f"_toc.yml: week {week.week} should be listed as {week.page}, as course.yml says.")
    found += [f"_toc.yml: {page} is no week's page in course.yml." for page in listed if page not in wanted]
    if sorted(listed) == sorted(wanted) and listed != wanted:
        found.append("_toc.yml: the weeks stand in another order than in course.yml.")
    found += [f"_toc.yml: {page} is listed twice." for page in sorted({p for p in pages if pages.count(p) > 1})]

    named = {week.notebook for week in course.weeks if week.notebook}
    there = {path.relative_to(root).as_posix() for path in (root / "notebooks").glob("*.ipynb")}
    found += [f"course.yml: {path} is named but does not exist." for path in sorted(named - there)]
    found += [f"{path}: no week of course.yml names this notebook." for path in sorted(there - named)]
    receipts = {path.relative_to(root).as_posix() for path in (root / "notebooks" / "receipts").glob("week*.json")}
    wanted_receipts = {week.receipt for week in course.weeks if week.notebook}
    found += [f"{path}: a receipt of a week without a notebook." for path in sorted(receipts - wanted_receipts)]
    # A notebook is opened in Colab from the address in the file; the environment's says only where the site is built.
    address = parse_course((root / NAME).read_text(encoding="utf-8"))
    for week in course.weeks:
        if week.notebook in there:
            found += [f"{week.notebook}: {problem}" for problem in _setup(root / str(week.notebook), address, week)]
    return found


def setup_lines(course: Course, week: int) -> tuple[str, str]:
    """The two lines that a set-up cell owes: install the course's core, and ask whether it fits."""
    wanted = ".".join(__version__.split(".")[:2])
    return (
        f'%pip install -q "tinyvlm @ git+{course.repository}.git@{course.branch}"',
        f'tinyvlm.require("{wanted}", week={week})',
    )


def _setup(path: Path, course: Course, week: Week) -> list[str]:
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        lines = {
            line.strip()
            for cell in cells
            if cell["cell_type"] == "code" and cell.get("id") == SETUP
            for line in "".join(cell["source"]).splitlines()
        }
    except (ValueError, KeyError, TypeError) as error:
        return [f"cannot be read as a notebook ({type(error).__name__}): restore it from the last commit."]
    missing = [line for line in setup_lines(course, week.week) if line not in lines]
    return [f"the cell {SETUP!r} lacks the line {line}" for line in missing]
