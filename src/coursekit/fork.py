"""Points a fork at its own repository and branch: `course fork URL --branch BRANCH`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from coursekit.load import NAME, parse_course
from coursekit.schema import Course, check_branch, check_repository
from tinyvlm.files import Write, write_together

# Where the address may stand besides course.yml and the notebooks.
PLAIN_FILES = ("README.md", "CONTRIBUTING.md", "CITATION.cff", "pyproject.toml")

Rewrite = Callable[[str], str]


def point_at(root: Path, url: str, branch: str | None = None) -> list[str]:
    """Rewrites repository and branch in course.yml, the notebooks and the front matter; returns the changed files.

    branch: None keeps the one in course.yml. Everything is read and checked before the first file is written.
    ValueError for an address that is not https://github.com/OWNER/NAME, and for what is no name of a branch.
    """
    slug = check_repository(url).removeprefix("https://github.com/")
    text = (root / NAME).read_text(encoding="utf-8")
    old = parse_course(text)  # the file's own address, not the environment's
    new = check_branch(branch) if branch is not None else old.branch
    rewrite = _rewriter(old, slug, new)
    rewritten: dict[Path, str] = {}
    notebooks, workflows = sorted(root.glob("notebooks/*.ipynb")), sorted(root.glob(".github/workflows/*.yml"))
    for path in filter(Path.is_file, [root / NAME, *notebooks, *(root / name for name in PLAIN_FILES), *workflows]):
        before = path.read_text(encoding="utf-8")
        after = _in_sources(before, rewrite) if path.suffix == ".ipynb" else rewrite(before)
        if path.name == NAME:
            after = _with_branch(after, old, new)
        if after != before:
            rewritten[path] = after
    write_together({path: _writer(after) for path, after in rewritten.items()})
    return [path.relative_to(root).as_posix() for path in rewritten]


def _rewriter(old: Course, slug: str, branch: str) -> Rewrite:
    """Replaces OWNER/NAME, the branch behind it and in workflows' triggers, and NAME in `cd NAME`, a clone's folder."""
    named, follows = r"(?![A-Za-z0-9_-])", r"(?![A-Za-z0-9._/-])"
    name = re.compile(re.escape(old.slug) + named)
    pinned = re.compile(rf"({re.escape(slug)}(?:\.git@|@|/blob/|/tree/)){re.escape(old.branch)}(?=/|{follows})")
    folder = re.compile(rf"\bcd {re.escape(old.slug.partition('/')[2])}{named}")
    trigger = f"branches: [{old.branch}]"

    def rewrite(text: str) -> str:
        text = text.replace(trigger, f"branches: [{branch}]")
        text = pinned.sub(lambda found: found[1] + branch, name.sub(lambda _: slug, text))
        return folder.sub(lambda _: f"cd {slug.partition('/')[2]}", text)

    return rewrite


def _with_branch(text: str, old: Course, branch: str) -> str:
    """course.yml with another branch; a file that leaves it out, since `main` is the default, gets the line."""
    if branch == old.branch:
        return text
    after, count = re.subn(r"(?m)^branch:.*$", lambda _: f"branch: {branch}", text)
    return after if count else re.sub(r"(?m)^(repository:.*)$", lambda found: f"{found[1]}\nbranch: {branch}", text)


def _writer(text: str) -> Write:
    return lambda temporary: temporary.write_text(text, encoding="utf-8")


def _in_sources(text: str, rewrite: Rewrite) -> str:
    """The notebook with its cells' sources rewritten; outputs are what a run stored and stay."""
    notebook = json.loads(text)
    changed = False
    for cell in notebook["cells"]:
        source = cell["source"]
        after = [rewrite(line) for line in source] if isinstance(source, list) else rewrite(source)
        changed |= after != source
        cell["source"] = after
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n" if changed else text
