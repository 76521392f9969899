"""Writes what a new week touches, from `templates/new/`: `course new WEEK`. All of it, or nothing."""

from __future__ import annotations

import ast
import json
import keyword
import re
import textwrap
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from coursekit.consistency import setup_lines
from coursekit.html import TEMPLATES
from coursekit.load import NAME, parse_course
from coursekit.schema import Week
from tinyvlm.files import Write, write_together

MODELS = "src/tinyvlm/models/__init__.py"
# Template -> file; the notebook is taken apart into cells.
FILES = {
    "model.py": "src/tinyvlm/models/{name}.py",
    "experiment.py": "src/tinyvlm/experiments/week{nn}.py",
    "checks.py": "src/tinyvlm/experiments/week{nn}_checks.py",
    "test_model.py": "tests/models/test_{name}.py",
    "test_week.py": "tests/experiments/test_week{nn}.py",
    "notebook": "notebooks/week{nn}_{name}.ipynb",
}


def new_week(root: Path, number: int, name: str | None = None) -> list[str]:
    """Writes the week's files and their lines in course.yml, _toc.yml and `models`; returns all paths.

    name: of the model's module (None: from the week's `short`). ValueError for a week that has a chapter or does not
    exist, a bad name, and a file that has no place for its line; FileExistsError for a file that is there already.
    """
    text = (root / NAME).read_text(encoding="utf-8")
    course = parse_course(text)  # the file's own address, which the set-up cell installs from
    week = course.week(number)
    if week.notebook:
        raise ValueError(f"Week {number} has its chapter, {week.notebook}: `course new` begins weeks that have none.")
    name = checked_name(week, name)
    nn = f"{number:02d}"
    paths = {template: path.format(name=name, nn=nn) for template, path in FILES.items()}
    there = [path for path in paths.values() if (root / path).exists()]
    there += [str(path.relative_to(root)) for path in sorted(root.glob(f"notebooks/week{nn}_*.ipynb"))]
    if there:
        raise FileExistsError(f"{there[0]} is there already: move it away, or choose another name with --name.")
    values = _values(week, name, nn) | dict(zip(("install", "require"), setup_lines(course, number), strict=True))
    files = {path: _rendered(template, values) for template, path in paths.items()}
    for path, source in files.items():
        _check_names(path, source, name)
    files |= {
        NAME: with_notebook(text, number, paths["notebook"]),
        "_toc.yml": with_page(_read(root / "_toc.yml"), week, paths["notebook"]),
        MODELS: with_model(_read(root / MODELS), name, values["model"]),
    }
    write_together({root / path: _writer(source) for path, source in files.items()})
    return list(files)


def checked_name(week: Week, name: str | None) -> str:
    """The name of the model's module, by default the week's `short` in small letters. ValueError for a bad one."""
    if name is None:
        name = re.sub(r"[^a-z0-9]+", "_", week.short.lower()).strip("_") if week.short.isascii() else ""
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise ValueError(f"{name!r} names no module: give small letters, digits and _ with --name, as in pixel_bert.")
    return name


def class_name(week: Week, name: str) -> str:
    """The model's class: `short` as it is spelt where that is the module's name, else the name in camel case."""
    spelt = "".join(part[0].upper() + part[1:] for part in re.findall(r"[A-Za-z0-9]+", week.short))
    return spelt if spelt.lower() == name.replace("_", "") else "".join(map(str.capitalize, name.split("_")))


def with_notebook(text: str, number: int, notebook: str) -> str:
    """course.yml in which the week names its notebook. ValueError where its entry is not written line by line."""
    entry = re.search(rf"(?ms)^( *)- week: *{number} *(#[^\n]*)?\n.*?(?=^\1- |^\S|\Z)", text)
    if entry:
        line = f"{entry[1]}  notebook: {notebook}\n"
        changed, count = re.subn(r"(?m)^ *notebook:.*\n", lambda _: line, entry[0])
        after = text[: entry.start()] + (changed if count else _appended(entry[0], line)) + text[entry.end() :]
        if parse_course(after).week(number).notebook == notebook:
            return after
    raise ValueError(f"{NAME}: week {number} is not written as `- week: {number}` with a key a line: write it so.")


def with_page(text: str, week: Week, notebook: str) -> str:
    """_toc.yml in which the chapter takes the place of the generated page. ValueError where that is not listed."""
    title = yaml.safe_dump(week.heading, allow_unicode=True, width=10_000).removesuffix("...\n").strip()
    page = notebook.removesuffix(".ipynb")
    after, count = re.subn(
        rf"(?m)^( *)- file: *{re.escape(week.page)}(\.md)? *$",
        lambda found: f"{found[1]}- file: {page}\n{found[1]}  title: {title}",
        text,
    )
    if count != 1:
        raise ValueError(f"_toc.yml lists {week.page} {count} times: let one line say `- file: {week.page}`.")
    return after


def with_model(text: str, name: str, model: str) -> str:
    """`models/__init__.py` that hands on the new classes. ValueError where another model has one of these names."""
    tree = ast.parse(text)
    names = [model, f"{model}Config", f"{model}Task"]
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    exported = next((node.value for node in tree.body if isinstance(node, ast.Assign) and _is_all(node)), None)
    if not imports or not isinstance(exported, ast.List):
        raise ValueError(f"{MODELS} has no imports and no list __all__: restore it from the last commit.")
    taken = [alias.name for node in imports for alias in node.names if alias.name in names]
    if taken:
        raise ValueError(f"{MODELS} has a {taken[0]} already: choose another name with --name.")
    lines = text.splitlines()
    # From below, so that the numbers of the lines above stay right.
    entries = [(ast.literal_eval(item), item.lineno) for item in exported.elts]
    for one in sorted(names, key=_rank, reverse=True):
        below = [line for other, line in entries if _rank(other) > _rank(one)]
        lines.insert(min(below, default=exported.end_lineno or 0) - 1, f'    "{one}",')
    module = f"tinyvlm.models.{name}"
    later = [node.lineno for node in imports if str(node.module) > module]
    place = min(later) - 1 if later else max(node.end_lineno or 0 for node in imports)
    lines.insert(place, imported(module, names))
    return "\n".join(lines) + "\n"


def imported(module: str, names: list[str], width: int = 120) -> str:
    """An import as ruff writes it: on one line where that is short enough."""
    ranked = sorted(names, key=_rank)
    line = f"from {module} import {', '.join(ranked)}"
    return line if len(line) <= width else "\n".join([f"from {module} import (", *(f"    {n}," for n in ranked), ")"])


def _rank(name: str) -> tuple[bool, str]:
    """ruff's order of names: those in capitals first."""
    return not name.isupper(), name


def _is_all(node: ast.Assign) -> bool:
    return getattr(node.targets[0], "id", "") == "__all__"


def _values(week: Week, name: str, nn: str) -> dict[str, Any]:
    source = week.paper or week.reading
    paper = week.title if week.paper or not week.reading else week.reading.title
    model = class_name(week, name)
    plain = paper.replace("\\", "/").replace('"""', "'''")
    said = plain if plain.casefold().startswith(model.casefold()) else f"{model}: {plain}"
    return {
        "week": week,
        "name": name,
        "nn": nn,
        "model": model,
        "label": week.short if week.short.isascii() else model,
        "paper": paper,
        "source": source,
        "arxiv": source.arxiv if source else "",
        "docstring": "\n".join(map(str.rstrip, _wrapped(f"{said} (arXiv {source.arxiv if source else ''}).", 110))),
        "imported": imported,
        "literal": _literal,
    }


def _literal(text: str, indent: int, taken: int) -> str:
    """A string as Python, over several lines where one of 120 columns, `taken` before it, is too short."""
    parts = _wrapped(text, 120 - indent - taken - 3)
    return ("\n" + " " * indent).join(json.dumps(part, ensure_ascii=False) for part in parts)


def _wrapped(text: str, columns: int) -> list[str]:
    """Lines that keep their spaces at the end. Wide letters, such as Hangul, take two columns."""
    if sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text) <= columns:
        return [text]
    return textwrap.wrap(text, columns if text.isascii() else columns // 2, drop_whitespace=False)


def _rendered(template: str, values: dict[str, Any]) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES / "new"), undefined=StrictUndefined, keep_trailing_newline=True
    )
    text = environment.get_template(f"{template}.jinja").render(**values)
    return _notebook(text) if template == "notebook" else text


def _notebook(text: str) -> str:
    """Cells from a text in which `%% id kind tags` stands above each."""
    _, *parts = re.split(r"(?m)^%% (.+)\n", text)
    cells = []
    for head, source in zip(parts[::2], parts[1::2], strict=True):
        name, kind, *tags = head.split()
        cell = {"cell_type": kind, "id": name, "metadata": {"tags": tags} if tags else {}}
        cell |= {"execution_count": None, "outputs": []} if kind == "code" else {}
        cells.append(cell | {"source": source.rstrip("\n").splitlines(keepends=True)})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _check_names(path: str, source: str, name: str) -> None:
    """ValueError where the model's class has a name that its files need for something else, such as Tensor."""
    if not path.endswith(".py"):
        return
    bound: Counter[str] = Counter()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            bound[node.name] += 1
    twice = [one for one, count in bound.items() if count > 1]
    if twice:
        raise ValueError(
            f"{name!r} would name a class {twice[0]}, which {path} needs for something else: "
            "choose another name with --name."
        )


def _appended(entry: str, line: str) -> str:
    """An entry of course.yml with one more line behind its last that says something."""
    said = entry.rstrip()
    return f"{said}\n{line}{entry[len(said) + 1 :]}"


def _read(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: restore it from the last commit.")
    return path.read_text(encoding="utf-8")


def _writer(text: str) -> Write:
    return lambda temporary: temporary.write_text(text, encoding="utf-8")
