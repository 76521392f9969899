"""Every exercise of every chapter: the check refuses the stub as it stands, and accepts the solution."""

import ast
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tinyvlm.experiments.exercises import Verdict

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("week*.ipynb"))
TAGS = ("exercise-stub", "exercise-check", "solution")


def exercises(path: Path) -> list[tuple[str, str, str]]:
    """(stub, check, solution) sources of a notebook, in order."""
    cells = nbformat.read(path, as_version=4).cells
    by_tag = [[cell.source for cell in cells if tag in cell.metadata.get("tags", [])] for tag in TAGS]
    return list(zip(*by_tag, strict=True))


def run(source: str, names: dict[str, Any]) -> Any:
    """Execute a cell; returns what its last expression is worth, as a notebook shows it."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None  # type: ignore[attr-defined]


CASES = [
    pytest.param(path, number, id=f"{path.stem}-{number + 1}")
    for path in NOTEBOOKS
    for number in range(len(exercises(path)))
]


def test_every_chapter_has_exercises() -> None:
    assert NOTEBOOKS, "no chapter was found"
    assert all(len(exercises(path)) >= 2 for path in NOTEBOOKS)


@pytest.mark.parametrize(("path", "number"), CASES)
def test_stub_fails_and_solution_passes(path: Path, number: int) -> None:
    stub, check, solution = exercises(path)[number]
    names: dict[str, Any] = {}
    imports = next(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.get("id") == "imports")
    run(imports, names)
    run(stub, names)
    verdict = run(check, names)
    assert isinstance(verdict, Verdict) and not verdict.passed, f"the stub of exercise {number + 1} passes: {verdict}"
    verdict = run(solution, names)
    assert isinstance(verdict, Verdict) and verdict.passed, f"the solution of exercise {number + 1}: {verdict}"
