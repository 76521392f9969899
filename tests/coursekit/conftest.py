"""A small repository of its own for every test, with one chapter that runs in a second."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from coursekit.load import load_course
from coursekit.schema import Course

ROOT = Path(__file__).parents[2]
NOTEBOOK = "notebooks/week03_clip.ipynb"

RECEIPT = {
    "week": 3, "notebook": "week03_clip", "preset": "cpu", "size": "micro", "seed": 0, "date": "2026-01-02",
    "device": "a test", "seconds": 12.0, "peak_memory_mb": 300.0, "versions": {"torch": "2"},
    "metrics": {"R@1": {"value": 0.5, "baseline": 0.1, "chance": 0.002}},
    "single_changes": {"CLIP micro": {"object": {"value": 0.9, "n": 512}, "objects swapped": {"value": 0.5, "n": 400}}},
    "claims": [], "code": {"notebook": "0" * 12, "models.clip": "1" * 12}, "inputs": {}, "commit": "c0ffee" * 6,
}  # fmt: skip

SETUP = """try:
    import tinyvlm
except ModuleNotFoundError:
    %pip install -q "tinyvlm @ git+https://github.com/your-group/vlm-course.git@main"
    import tinyvlm
tinyvlm.require("0.1", week=3)"""

WRITE_RECEIPT = """import json, os, pathlib
receipt = json.loads('''%s''')
receipt["preset"] = os.environ.get("TINYVLM_PRESET", "cpu")
pathlib.Path(os.environ["TINYVLM_RECEIPT"]).write_text(json.dumps(receipt))"""


def make_notebook(*sources: str, receipt: dict | None = RECEIPT) -> nbformat.NotebookNode:
    """A title, the set-up, a code cell for every source (ids cell-1, cell-2 ...), and a last one for the receipt."""
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_markdown_cell("# Week 3 · CLIP", id="title")]
    notebook.cells.append(nbformat.v4.new_code_cell(SETUP, id="setup"))
    notebook.cells += [nbformat.v4.new_code_cell(source, id=f"cell-{i}") for i, source in enumerate(sources, 1)]
    if receipt is not None:
        notebook.cells.append(nbformat.v4.new_code_cell(WRITE_RECEIPT % json.dumps(receipt), id="receipt"))
    return notebook


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COURSE_REPOSITORY", "COURSE_ROOT", "GITHUB_REPOSITORY", "TINYVLM_SIZE", "TINYVLM_SEEDS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A copy of course.yml and _toc.yml in which week 3 alone has a notebook, one that passes."""
    course = (ROOT / "course.yml").read_text(encoding="utf-8")
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    # However many chapters are written by now, the tests below stay the same.
    course = re.sub(r"notebook: notebooks/week(?!03)\w+\.ipynb", "notebook: null", course)
    toc = re.sub(r"- file: notebooks/(week(?!03)\d\d)\w*\n\s+title: .*", r"- file: book/_generated/\1", toc)
    (tmp_path / "course.yml").write_text(course, encoding="utf-8")
    (tmp_path / "_toc.yml").write_text(toc, encoding="utf-8")
    (tmp_path / "notebooks").mkdir()
    nbformat.write(make_notebook("print('trained')"), tmp_path / NOTEBOOK)
    return tmp_path


@pytest.fixture
def course(repo: Path) -> Course:
    return load_course(repo)


class Silent:
    """Progress that remembers instead of printing."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.lines: list[str] = []

    def begin(self, position: int, total: int, cell: str) -> None:
        self.begun.append(f"{position}/{total} {cell}")

    def heard(self, line: str) -> None:
        self.lines.append(line)

    def end(self, position: int, total: int, cell: str, seconds: float) -> None:
        assert seconds >= 0


@pytest.fixture
def progress() -> Silent:
    return Silent()


@pytest.fixture
def receipt() -> dict:
    return dict(RECEIPT)


@pytest.fixture
def notebook_of():
    return make_notebook
