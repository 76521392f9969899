"""`course new`: a week from templates that runs as it is; all of its files, or none."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from coursekit.checks import CELL_CHECKS
from coursekit.consistency import problems
from coursekit.load import load_course
from coursekit.new import FILES, MODELS, new_week, with_model
from tests.coursekit.conftest import ROOT
from tinyvlm import files as core_files

ROOMS = [
    *("0. Set up", "1. In one picture", "2. Build it", "3. The objective", "4. Train one", "5. Measure it"),
    *("6. Look inside", "7. Claims", "8. At paper scale", "9. Exercises, questions, references", "The receipt"),
]


MODEL_NAMES = """\"\"\"Models.\"\"\"

from tinyvlm.models.clip import CLIP, CLIPConfig
from tinyvlm.models.vit import (
    ViT,
    ViTConfig,
)

__all__ = [
    "CLIP",
    "CLIPConfig",
    "ViT",
    "ViTConfig",
]
"""


@pytest.fixture
def place(repo):
    """The little repository, with the one file of the core that a new week changes."""
    path = repo / MODELS
    path.parent.mkdir(parents=True)
    path.write_text(MODEL_NAMES)
    return repo


def everything(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def ruff(root: Path, *arguments: str) -> str:
    """What ruff says inside `root`, by the rules of this repository."""
    rules = ROOT / "pyproject.toml", "lint.isort.known-first-party = ['tinyvlm']"  # whose modules are not here
    command = [sys.executable, "-m", "ruff", *arguments, "--no-cache", *(f"--config={one}" for one in rules)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True).stdout


def test_a_new_week_stands_in_every_place(place):
    before = everything(place)
    written = new_week(place, 6)
    assert written == [
        "src/tinyvlm/models/beit.py",
        *("src/tinyvlm/experiments/week06.py", "src/tinyvlm/experiments/week06_checks.py"),
        *("tests/models/test_beit.py", "tests/experiments/test_week06.py", "notebooks/week06_beit.ipynb"),
        *("course.yml", "_toc.yml", MODELS),
    ]
    after = everything(place)
    assert {name for name in after if after[name] != before.get(name)} == set(written)
    course = load_course(place)
    assert course.week(6).notebook == "notebooks/week06_beit.ipynb" and problems(place, course) == []
    assert "title: Week 6 · BEiT\n" in (place / "_toc.yml").read_text(encoding="utf-8")
    lines = (before["course.yml"].decode().splitlines(), after["course.yml"].decode().splitlines())
    assert [new for old, new in zip(*lines, strict=True) if old != new] == ["    notebook: notebooks/week06_beit.ipynb"]


def test_the_notebook_has_its_rooms_in_order_and_passes_what_a_notebook_without_a_run_can(place):
    new_week(place, 6)
    notebook = nbformat.read(place / "notebooks/week06_beit.ipynb", as_version=4)
    nbformat.validate(notebook)
    heads = [line[3:] for cell in notebook.cells if cell.cell_type == "markdown"
             for line in cell.source.splitlines() if line.startswith("## ")]  # fmt: skip
    assert heads == ROOMS
    failing = {name for name, find in CELL_CHECKS.items() if find(notebook.cells)}
    assert failing == {"every cell was run, in order"}
    assert sum("solution" in cell.metadata.get("tags", []) for cell in notebook.cells) == 2


def test_the_notebook_begins_in_plain_sentences(place):
    new_week(place, 7)
    check = [sys.executable, str(ROOT / "tools/prose.py"), str(place / "notebooks/week07_maskvlm.ipynb")]
    found = subprocess.run(check, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_every_week_is_clean_and_the_models_stay_sorted(place):
    """All one after another: GIT (in capitals), VLMo and CoCa find their places in the lists."""
    for week in load_course(place).weeks:
        if week.short not in ("ViT", "CLIP"):
            new_week(place, week.week)
    assert problems(place, load_course(place)) == []
    assert ruff(place, "check") == "All checks passed!\n"
    assert ruff(place, "format", "--diff", "src", "tests") == ""
    (place / "notebooks/week03_clip.ipynb").unlink()
    assert ruff(place, "format", "--diff", "--line-length=88", "--config=extend-exclude=[]", "notebooks") == ""


@pytest.mark.parametrize(("week", "name", "message"), [
    (3, None, "Week 3 has its chapter, notebooks/week03_clip.ipynb"),
    (15, None, "There is no week 15: the course has weeks 1 to 14."),
    *((6, name, "names no module: give small letters") for name in ("", "BEiT", "2d", "a-b", "../x", "a__b", "class")),
    (6, "taken", "src/tinyvlm/models/taken.py is there already: move it away, or choose another name with --name."),
    (6, "tensor", "'tensor' would name a class Tensor, which src/tinyvlm/models/tensor.py needs for something else"),
    (2, None, "src/tinyvlm/models/__init__.py has a ViT already: choose another name with --name."),
])  # fmt: skip
def test_what_cannot_be_begun_is_one_sentence_and_changes_nothing(place, week, name, message):
    (place / "src/tinyvlm/models/taken.py").write_text("mine")
    before = everything(place)
    with pytest.raises((ValueError, FileExistsError)) as error:
        new_week(place, week, name)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert everything(place) == before


@pytest.mark.parametrize("path", FILES.values())
def test_no_file_is_overwritten(place, path):
    path = place / path.format(name="beit", nn="06")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    before = everything(place)
    with pytest.raises(FileExistsError, match="is there already: move it away"):
        new_week(place, 6)
    assert everything(place) == before


def test_a_second_notebook_of_the_week_is_seen_under_another_name(place):
    (place / "notebooks/week06_other.ipynb").write_text("{}")
    with pytest.raises(FileExistsError, match=r"notebooks/week06_other\.ipynb is there already"):
        new_week(place, 6)


@pytest.mark.parametrize("number", [1, 6, 9])
def test_a_disk_that_fills_up_leaves_nothing_half_written(place, monkeypatch, number):
    before, calls = everything(place), []

    def sync(path):
        calls.append(path)
        if len(calls) == number:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(core_files, "sync", sync)
    with pytest.raises(OSError, match="cannot be written"):
        new_week(place, 6)
    assert everything(place) == before


@pytest.mark.parametrize(("file", "old", "new", "message"), [
    ("_toc.yml", "      - file: book/_generated/week06\n", "", "_toc.yml lists book/_generated/week06 0 times"),
    (MODELS, "__all__ =", "ALL =", "has no imports and no list __all__"),
    ("course.yml", "  - week: 6\n    type", "  - type: x\n    week: 6\n    #", "course.yml: week 6 is not written as"),
])  # fmt: skip
def test_a_file_without_a_place_for_its_line(place, file, old, new, message):
    path = place / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    before = everything(place)
    with pytest.raises(ValueError, match=message):
        new_week(place, 6)
    assert everything(place) == before


def test_classes_find_their_places():
    text = MODEL_NAMES
    for name, model in (("git", "GIT"), ("xlip", "XLip"), ("albef", "ALBEF")):
        text = with_model(text, name, model)
    modules = [line.split()[1].rpartition(".")[2] for line in text.splitlines() if line.startswith("from")]
    assert modules == ["albef", "clip", "git", "vit", "xlip"]
    names = [line.strip(' ",') for line in text.partition("__all__")[2].splitlines()[1:-1]]
    assert names == [
        *("ALBEF", "CLIP", "GIT", "ALBEFConfig", "ALBEFTask", "CLIPConfig", "GITConfig", "GITTask"),
        *("ViT", "ViTConfig", "XLip", "XLipConfig", "XLipTask"),
    ]


# Another group: Korean names, a quotation, a colon, a background reading, no key for the notebook, its own address.
OTHER = """
book: {title: 책, short: 책, description: 책}
group: {name: 모임, season: 1, subject: 그림, weeks: 2}
repository: https://github.com/else/where
branch: next
weeks:
- week: 1
  type: 시작
  title: '"따옴표": 아주 아주 긴 한국어 제목이 여기에 있고 그것은 한 줄에 들어가지 않을 만큼 길고 또 길고 끝이 없다'
  short: '그림: 언어'
  date: 2024-01-01
  paper: {arxiv: "2104.00001", posted: 2021-04, affiliation: 대학}
  speaker: {name: 누구, publish: true}
  minutes: 60

- week: 2
  type: 끝
  title: 정리
  short: Wrap-up
  date: 2024-01-08
  reading: {title: "A \\\\ survey", arxiv: "2104.00002", posted: 2021-04}
  speaker: {name: 누구, publish: true}
  minutes: 60
  notebook:   # not yet
"""
OTHER_TOC = """format: jb-book
root: book/index
chapters:
- file: book/_generated/week01
- file: book/_generated/week02.md
"""


def test_a_week_of_another_group(place):
    (place / "course.yml").write_text(OTHER, encoding="utf-8")
    (place / "_toc.yml").write_text(OTHER_TOC, encoding="utf-8")
    (place / "notebooks/week03_clip.ipynb").unlink()
    with pytest.raises(ValueError, match=r"'' names no module: give small letters, digits and _ with --name"):
        new_week(place, 1)
    new_week(place, 1, "words_2")
    new_week(place, 2)
    course = load_course(place)
    written = [week.notebook for week in course.weeks]
    assert written == ["notebooks/week01_words_2.ipynb", "notebooks/week02_wrap_up.ipynb"]
    assert problems(place, course) == [] and "title: 'Week 1 · 그림: 언어'" in (place / "_toc.yml").read_text()
    assert ruff(place, "check") == "All checks passed!\n"
    notebook = json.loads((place / "notebooks/week01_words_2.ipynb").read_text(encoding="utf-8"))
    assert "else/where.git@next" in "".join(notebook["cells"][2]["source"])
    model = (place / "src/tinyvlm/models/wrap_up.py").read_text(encoding="utf-8")
    assert "class WrapUp(PaperModel)" in model and 'paper="A \\\\ survey"' in model


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the repository's code in which the first week without a chapter was just begun, and that week."""
    root = tmp_path_factory.mktemp("clone")
    for name in ("src", "tests", "notebooks"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("course.yml", "_toc.yml", "pyproject.toml"):
        shutil.copyfile(ROOT / name, root / name)
    # The first week that nobody has begun: a week's model and experiment may stand before its chapter does.
    begun = {path.stem for path in (root / "src/tinyvlm/experiments").glob("week*.py")}
    unwritten = (week for week in load_course(root).weeks if week.notebook is None)
    week = next((week for week in unwritten if f"week{week.week:02d}" not in begun), None)
    if week is None:
        pytest.skip("every week has its chapter")
    new_week(root, week.week, "first_draft")
    return root, week.week


def inside(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((str(root / "src"), str(root)))
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment.pop("COURSE_ROOT", None)
    return subprocess.run([sys.executable, *command], cwd=root, env=environment, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.alone
def test_a_new_week_runs_in_smoke_and_fails_only_for_want_of_a_run(clone):
    root, week = clone
    ran = inside(root, "-c", "from coursekit.entry import main; main()", "check", str(week))
    failing = [line.split(maxsplit=1)[1] for line in ran.stdout.splitlines() if line.startswith("fails")]
    wanted = ["every cell was run, in order", "the receipt belongs to this notebook and holds"]
    assert failing == wanted, ran.stdout + ran.stderr
    assert "ok     every cell runs in the smoke preset" in ran.stdout


@pytest.mark.slow
def test_a_new_week_passes_what_every_week_and_model_owes(clone):
    root, week = clone
    own = (f"tests/experiments/test_week{week:02d}.py", "tests/models/test_first_draft.py")
    for tests in (own, ("tests/experiments/test_weeks.py", "tests/notebooks", "-k", f"week{week:02d}")):
        ran = inside(root, "-m", "pytest", "-p", "no:cacheprovider", *tests)
        assert ran.returncode == 0, ran.stdout[-3000:]


@pytest.mark.slow
def test_a_new_week_has_types(clone):
    root, _ = clone
    if (ROOT / ".mypy_cache").is_dir():  # what mypy knows of everything else
        shutil.copytree(ROOT / ".mypy_cache", root / ".mypy_cache")
    new = [str(path) for path in root.glob("src/tinyvlm/*/*.py") if not (ROOT / path.relative_to(root)).exists()]
    assert len(new) == 3
    ran = inside(root, "-m", "mypy", *new)
    assert ran.returncode == 0, ran.stdout
