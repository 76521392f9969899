"""Fingerprints of code: a hash of syntax trees, blind to comments, docstrings and formatting.

A notebook's fingerprint covers its code cells and every `tinyvlm` module that they import, directly or through others.
"""

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tinyvlm.files import read_json

PACKAGE = "tinyvlm"
ROOT = Path(__file__).resolve().parents[1]

# IPython's own syntax, in lines that are no Python: `%magic`, `!command`, `?help`, `help?` and `x = !command`.
_MAGIC = re.compile(r"^(\s*)([%!?].*|\S.*\?)$")
_GONE = (
    "__ipython__"  # stands in a magic's place while the cell is parsed: a lone line of a block must not leave it empty
)
_ASSIGNED = re.compile(r"^(\s*[\w.,\s]+=)\s*[%!].*$")


def fingerprint(notebook: str | Path) -> str:
    """Fingerprint of a notebook (hex digits).

    Raises FileNotFoundError or ValueError, in one sentence, for a file that is no notebook or a cell that is no Python.
    """
    trees = [tree for _, tree in notebook_trees(Path(notebook))]
    return _digest([("cell", tree) for tree in trees] + _modules(trees))


def module_fingerprint(name: str, file: str | Path | None = None) -> str:
    """Fingerprint of a module and the `tinyvlm` modules it imports; `file` for a module outside `tinyvlm`."""
    path = Path(file) if file is not None else _file(name)
    if path is None or not path.is_file():
        raise FileNotFoundError(f"Module {name} has no source file at {path}: name a module of {PACKAGE}.")
    tree = _without_docstrings(ast.parse(path.read_text(encoding="utf-8")))
    return _digest([("module", tree), *_modules([tree], name)])


def notebook_trees(path: Path) -> list[tuple[str, ast.Module]]:
    """(cell id, syntax tree) of every code cell; IPython's magics and shell lines are left out."""
    notebook = read_json(path, "Notebook", "give the path of an .ipynb file")
    if not isinstance(notebook.get("cells"), list):
        raise ValueError(f"Notebook {path} holds no list of cells: give the path of an .ipynb file of format 4.")
    trees = []
    for number, cell in enumerate(notebook["cells"]):
        if cell.get("cell_type") != "code":
            continue
        name = cell.get("id", str(number))
        text = cell.get("source", "")
        trees.append((name, _parse_cell("".join(text), f"Cell {name} of {path}")))
    return trees


def _parse_cell(text: str, what: str) -> ast.Module:
    if text.lstrip().startswith("%%"):
        first, _, rest = text.lstrip().partition("\n")
        # A cell in another language counts as its text; %%time and its like hold Python.
        python = first.split()[0] in ("%%time", "%%timeit", "%%capture", "%%prun")
        text = rest if python else f"{first!r}\n{rest!r}"
    try:
        return _without_docstrings(ast.parse(text), keep_first=True)
    except SyntaxError:
        # Only now: a line of a string or of a long expression may begin with % and be Python all the same.
        lines = [_ASSIGNED.sub(r"\1 None", _MAGIC.sub(rf"\1{_GONE}", line)) for line in text.splitlines()]
    try:
        tree = ast.parse("\n".join(lines))
    except SyntaxError as error:
        raise ValueError(f"{what} is no Python ({error.msg}, line {error.lineno}): mend the cell.") from None
    tree.body = [node for node in tree.body if ast.unparse(node) != _GONE]
    return _without_docstrings(tree, keep_first=True)


def _without_docstrings(tree: ast.Module, keep_first: bool = False) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module) and keep_first:  # in a cell a lone string is shown, not read as a docstring
            continue
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or ([] if isinstance(node, ast.Module) else [ast.Pass()])
    return tree


def _modules(trees: Iterable[ast.Module], package: str = "") -> list[tuple[str, ast.Module]]:
    """Syntax trees of all modules of the package that `trees` import, transitively, by sorted name."""
    found: dict[str, ast.Module] = {}
    waiting = [name for tree in trees for name in _imports(tree, package, is_package=False)]
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if name in found or path is None:
            continue
        found[name] = _without_docstrings(ast.parse(path.read_text(encoding="utf-8")))
        waiting += _imports(found[name], name, is_package=path.name == "__init__.py")
    return sorted(found.items(), key=lambda item: item[0])


def _imports(tree: ast.Module, module: str, is_package: bool) -> Iterator[str]:
    """Names that may be modules of the package: what is imported, and the packages above it, which run first."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            above = parts[: len(parts) - node.level + is_package] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            if parts[0] == PACKAGE:
                yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _file(name: str) -> Path | None:
    parts = name.split(".")
    if parts[0] != PACKAGE:
        return None
    base = ROOT.joinpath(*parts[1:])
    candidates = (base / "__init__.py", base.with_suffix(".py")) if len(parts) > 1 else (base / "__init__.py",)
    return next((path for path in candidates if path.is_file()), None)


def _digest(trees: Iterable[tuple[str, ast.Module]]) -> str:
    whole = hashlib.sha256()
    for name, tree in trees:
        whole.update(f"{name}\n{_write(tree)}\n".encode())
    return whole.hexdigest()


def _write(value: Any) -> str:
    """A syntax tree as text. Empty fields are left out: newer Pythons add fields, and `ast.dump` changes with them."""
    if isinstance(value, ast.AST):
        fields = (f"{name}={_write(part)}" for name, part in ast.iter_fields(value) if part is not None and part != [])
        return f"{type(value).__name__}({','.join(fields)})"
    if isinstance(value, list):
        return f"[{','.join(map(_write, value))}]"
    return repr(value)
