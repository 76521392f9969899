"""Disagreements between course.yml, _toc.yml and notebooks are found, each in one sentence."""

import shutil

import nbformat
import pytest

from coursekit.consistency import problems, setup_lines, toc_pages
from coursekit.load import load_course
from tinyvlm import __version__


def edit(repo, old, new):
    path = repo / "_toc.yml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_agreement(repo, course):
    assert problems(repo, course) == []


def test_a_week_missing_from_the_toc(repo, course):
    edit(repo, "      - file: book/_generated/week05\n", "")
    (found,) = problems(repo, course)
    assert found == "_toc.yml: week 5 should be listed as book/_generated/week05, as course.yml says."


def test_a_chapter_listed_as_if_it_were_not_written(repo, course):
    edit(repo, "notebooks/week03_clip", "book/_generated/week03")
    found = problems(repo, course)
    assert "week 3 should be listed as notebooks/week03_clip" in found[0]
    assert "book/_generated/week03 is no week's page" in found[1]


def test_weeks_in_another_order(repo, course):
    edit(repo, "_generated/week05", "_generated/weekXX")
    edit(repo, "_generated/week06", "_generated/week05")
    edit(repo, "_generated/weekXX", "_generated/week06")
    assert problems(repo, course) == ["_toc.yml: the weeks stand in another order than in course.yml."]


def test_a_page_listed_twice(repo, course):
    edit(repo, "      - file: book/status\n", "      - file: book/status\n      - file: book/status\n")
    assert problems(repo, course) == ["_toc.yml: book/status is listed twice."]


def test_a_notebook_that_nobody_names(repo, course):
    shutil.copy(repo / "notebooks/week03_clip.ipynb", repo / "notebooks/week04_other.ipynb")
    assert problems(repo, course) == ["notebooks/week04_other.ipynb: no week of course.yml names this notebook."]


def test_a_notebook_that_does_not_exist(repo, course):
    (repo / "notebooks/week03_clip.ipynb").unlink()
    assert problems(repo, course) == ["course.yml: notebooks/week03_clip.ipynb is named but does not exist."]


def test_a_receipt_without_a_chapter(repo, course):
    (repo / "notebooks/receipts").mkdir()
    (repo / "notebooks/receipts/week04.json").write_text("{}")
    assert problems(repo, course) == ["notebooks/receipts/week04.json: a receipt of a week without a notebook."]


INSTALL = '%pip install -q "tinyvlm @ git+https://github.com/your-group/vlm-course.git@main"'
REQUIRE = f'tinyvlm.require("{__version__.rpartition(".")[0]}", week=3)'


@pytest.mark.parametrize(("old", "new", "missing"), [
    ("vlm-course.git", "another.git", INSTALL), (".git@main", ".git", INSTALL), (".git@main", ".git@next", INSTALL),
    (", week=3", "", REQUIRE), ("week=3", "week=4", REQUIRE), ('"0.1"', '"0.2"', REQUIRE),
    ("tinyvlm.req", "req", REQUIRE),
])  # fmt: skip
def test_a_set_up_cell_that_installs_or_asks_for_something_else(repo, course, old, new, missing):
    path = repo / "notebooks/week03_clip.ipynb"
    notebook = nbformat.read(path, as_version=4)
    cell = next(cell for cell in notebook.cells if cell.id == "setup")
    assert old in cell.source and setup_lines(course, 3) == (INSTALL, REQUIRE)
    cell.source = cell.source.replace(old, new)
    nbformat.write(notebook, path)
    assert problems(repo, course) == [f"notebooks/week03_clip.ipynb: the cell 'setup' lacks the line {missing}"]


def test_a_notebook_without_a_set_up_cell_or_without_cells(repo, course):
    path = repo / "notebooks/week03_clip.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].id = "begin"
    nbformat.write(notebook, path)
    assert len(problems(repo, course)) == 2
    path.write_text("{}")
    (found,) = problems(repo, course)
    assert found.startswith("notebooks/week03_clip.ipynb: cannot be read as a notebook (KeyError)")


def test_set_up_cells_follow_the_file_and_not_the_environment(repo, monkeypatch):
    monkeypatch.setenv("COURSE_REPOSITORY", "https://github.com/else/where")
    course = load_course(repo)
    assert course.slug == "else/where" and problems(repo, course) == []


def test_toc_that_cannot_be_read(repo):
    (repo / "_toc.yml").write_text("parts: [")
    with pytest.raises(ValueError, match=r"_toc\.yml is not YAML"):
        toc_pages(repo)
    (repo / "_toc.yml").unlink()
    with pytest.raises(FileNotFoundError, match="gives the order of the site's pages"):
        toc_pages(repo)
