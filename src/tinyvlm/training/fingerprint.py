"""What code a result came from: a hash for each module, blind to comments, docstrings and formatting.

A record is a dictionary {"models.albef": hash, "objectives.contrastive": hash, ..., "notebook": hash}. It covers a
notebook's code cells, or a week's module, and every `tinyvlm` module that these import, directly or through others.
A name that a package re-exports is followed to the module that defines it: a new paper in `models/__init__` is then
no part of an earlier week. Modules that cannot change a number are left out (`NEUTRAL`).
"""

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tinyvlm.evidence import PACKAGE
from tinyvlm.files import read_json

NAME = "tinyvlm"
ROOT = PACKAGE

# Drawing, telling and bookkeeping; checks of exercises; converters of other libraries' weights, which no result uses.
NEUTRAL = (
    *("viz", "blueprint", "interop", "evidence", "files", "training.progress", "training.receipts"),
    *("training.fingerprint", "training.interrupt", "experiments.claims", "experiments.store", "experiments.queue"),
    *("experiments.canary", "experiments.chapter", "experiments.exercises"),
)
_CHECKS = re.compile(r"experiments\.week\d+_checks$")
# IPython's own lines, `%magic` and `!command`, are no Python.
_MAGIC = re.compile(r"^\s*[%!].*$", re.MULTILINE)


def notebook_code(path: str | Path, inputs: Iterable[str] = ()) -> dict[str, str]:
    """The record of a notebook. `inputs` are names of data it read: the class of a `zoo/NAME` belongs to its code.

    Raises FileNotFoundError or ValueError, in one sentence, for a file that is no notebook or a cell that is no Python.
    """
    trees = [tree for _, tree in notebook_trees(Path(path))]
    asked = [_resolve(*pair) for tree in trees for pair in _imported(tree, "")]
    return {"notebook": _hash("\n".join(map(_write, trees)))} | _hashes(_modules([*asked, *_zoo_classes(inputs)]))


def module_code(name: str, file: str | Path | None = None, inputs: Iterable[str] = ()) -> dict[str, str]:
    """The record of a module; `file` for one outside `tinyvlm`. FileNotFoundError when it has no source."""
    path = Path(file) if file is not None else _file(name)
    if path is None or not path.is_file():
        raise FileNotFoundError(f"Module {name} has no source file at {path}: name a module of {NAME}.")
    source = _source(path, name)
    asked = [_resolve(*pair) for pair in source.imports]
    return {_short(name): source.hash} | _hashes(_modules([*asked, *_zoo_classes(inputs)]))


def core_code(record: Mapping[str, str]) -> dict[str, str]:
    """The modules that a record names as they are installed now; a module that is gone has an empty hash."""
    paths = {name: _file(f"{NAME}.{name}") for name in record if name != "notebook"}
    return {name: _source(path, f"{NAME}.{name}").hash if path else "" for name, path in paths.items()}


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Names of what differs between two records, also of what only one of them has."""
    return [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]


def notebook_trees(path: Path) -> list[tuple[str, ast.Module]]:
    """(cell id, syntax tree) of every code cell; IPython's magics and shell lines are left out."""
    notebook = read_json(path, "Notebook", "give the path of an .ipynb file")
    if not isinstance(notebook.get("cells"), list):
        raise ValueError(f"Notebook {path} holds no list of cells: give the path of an .ipynb file of format 4.")
    trees = []
    for number, cell in enumerate(notebook["cells"]):
        if cell.get("cell_type") == "code":
            name = cell.get("id", str(number))
            trees.append((name, _parse_cell("".join(cell.get("source", "")), f"Cell {name} of {path}")))
    return trees


def _parse_cell(text: str, what: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError:
        pass  # Only now: a line of a long expression may begin with % and be Python all the same.
    try:
        return ast.parse(_MAGIC.sub("", text))
    except SyntaxError as error:
        raise ValueError(f"{what} is no Python ({error.msg}, line {error.lineno}): mend the cell.") from None


@dataclass(frozen=True)
class _Source:
    """What a file says: its hash, the (module, name) pairs it imports, and the names it hands on from elsewhere."""

    hash: str
    imports: tuple[tuple[str, str], ...]
    exports: Mapping[str, tuple[str, str]]


def _source(path: Path, name: str) -> _Source:
    """A module's source, read again only when the file has changed."""
    known = path.stat()
    return _read(path, name, (known.st_mtime_ns, known.st_size))


@cache
def _read(path: Path, name: str, stamp: tuple[int, int]) -> _Source:
    tree = _without_docstrings(ast.parse(path.read_text(encoding="utf-8")))
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    exports = _exports(tree, name) if path.name == "__init__.py" else {}
    return _Source(_hash(_write(tree)), tuple(_imported(tree, package)), exports)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                if isinstance(first.value.value, str):
                    node.body = node.body[1:] or ([] if isinstance(node, ast.Module) else [ast.Pass()])
    return tree


def _modules(names: Iterable[str]) -> list[str]:
    """The modules of the package that count, reached from `names` through imports, sorted."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if name in seen or path is None or _neutral(_short(name)):
            continue
        seen.add(name)
        source = _source(path, name)
        if source.exports:  # the package as a whole: everything it hands out
            waiting += [_resolve(*home) for home in source.exports.values()]
            continue
        found.add(name)
        waiting += [_resolve(*pair) for pair in source.imports]
    return sorted(found)


def _imported(tree: ast.Module, package: str) -> Iterator[tuple[str, str]]:
    """(module, name) of what a tree imports of `tinyvlm`, also inside functions; name "" for the module as a whole."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.split(".")[0] == NAME)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            if base.split(".")[0] == NAME:
                yield from ((base, alias.name) for alias in node.names)


def _resolve(base: str, name: str) -> str:
    """The module that defines `name` of the module or package `base`."""
    if name in ("", "*"):
        return base
    if _file(f"{base}.{name}") is not None:
        return f"{base}.{name}"
    path = _file(base)
    home = _source(path, base).exports.get(name) if path else None
    return _resolve(*home) if home else base


def _exports(tree: ast.Module, package: str) -> dict[str, tuple[str, str]]:
    """name -> (module, name there) of a package whose `__init__` only hands on; empty when it has code of its own."""
    found: dict[str, tuple[str, str]] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == NAME:
            found |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_HOMES":
            # Packages that load their names when first used keep a table of where these live.
            for key, value in ast.literal_eval(node.value).items():
                if isinstance(value, tuple):
                    found |= {name: (f"{package}.{key}", name) for name in value}
                else:
                    found[key] = (f"{package}.{value}", key)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name not in ("__getattr__", "__dir__"):
            return {}
    return found


def _zoo_classes(inputs: Iterable[str]) -> Iterator[str]:
    """Modules of the classes of zoo entries: weights are loaded by a name that no import shows."""
    for name in inputs:
        config = ROOT / "zoo" / "weights" / name.removeprefix("zoo/") / "config.json"
        if name.startswith("zoo/") and config.is_file():
            yield _resolve(f"{NAME}.models", json.loads(config.read_text(encoding="utf-8"))["model"])


def _hashes(names: Iterable[str]) -> dict[str, str]:
    return {_short(name): _source(path, name).hash for name in names if (path := _file(name))}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _neutral(short: str) -> bool:
    return any(short == name or short.startswith(f"{name}.") for name in NEUTRAL) or bool(_CHECKS.search(short))


def _short(name: str) -> str:
    return name.removeprefix(f"{NAME}.")


def _file(name: str) -> Path | None:
    parts = name.split(".")
    if parts[0] != NAME or len(parts) < 2:
        return None  # the root package only says its version
    base = ROOT.joinpath(*parts[1:])
    return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)


def _write(value: Any) -> str:
    """A syntax tree as text. Empty fields are left out: newer Pythons add fields, and `ast.dump` changes with them."""
    if isinstance(value, ast.AST):
        fields = (f"{name}={_write(part)}" for name, part in ast.iter_fields(value) if part is not None and part != [])
        return f"{type(value).__name__}({','.join(fields)})"
    if isinstance(value, list):
        return f"[{','.join(map(_write, value))}]"
    return repr(value)
