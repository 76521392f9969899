"""Whether `course.yml`, `_toc.yml` and the notebooks tell the same story."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from coursekit.schema import Course


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
    return found
