"""Points a fork at its own repository: `course fork URL`."""

from __future__ import annotations

import json
import re
from pathlib import Path

from coursekit.files import write_text
from coursekit.load import NAME, parse_course
from coursekit.schema import check_repository

# Where the address may stand besides course.yml and the notebooks.
PLAIN_FILES = ("README.md", "CONTRIBUTING.md", "CITATION.cff", "pyproject.toml")


def point_at(root: Path, url: str) -> list[str]:
    """Rewrites the repository's address in course.yml, the notebooks and the front matter; returns the changed files.

    Everything is read and checked before the first file is written. ValueError for an address that is not
    https://github.com/OWNER/NAME.
    """
    new = check_repository(url).removeprefix("https://github.com/")
    text = (root / NAME).read_text(encoding="utf-8")
    old = parse_course(text).slug  # the file's own address, not the environment's
    name = re.compile(re.escape(old) + r"(?![A-Za-z0-9_-])")
    rewritten: dict[Path, str] = {}
    for path in [root / NAME, *sorted((root / "notebooks").glob("*.ipynb")), *(root / name for name in PLAIN_FILES)]:
        if not path.is_file():
            continue
        before = path.read_text(encoding="utf-8")
        after = _in_sources(before, name, new) if path.suffix == ".ipynb" else name.sub(new, before)
        if after != before:
            rewritten[path] = after
    for path, after in rewritten.items():
        write_text(path, after)
    return [path.relative_to(root).as_posix() for path in rewritten]


def _in_sources(text: str, name: re.Pattern[str], new: str) -> str:
    """The notebook with the address replaced in its cells' sources; outputs are what a run stored and stay."""
    notebook = json.loads(text)
    changed = False
    for cell in notebook["cells"]:
        source = cell["source"]
        after = [name.sub(new, line) for line in source] if isinstance(source, list) else name.sub(new, source)
        changed |= after != source
        cell["source"] = after
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n" if changed else text
