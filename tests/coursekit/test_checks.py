"""`course check`: every check passes on a chapter in order and fails on one that is not."""

import base64
import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from coursekit import checks
from coursekit.checks import CELL_CHECKS, check_chapter
from coursekit.runner import run_chapter

NOTEBOOK = "notebooks/week03_clip.ipynb"
HOME = "/ho" + "me"  # in parts, so that the repository's own search for such paths does not find it here
PICTURE = new_output("display_data", {"image/png": base64.b64encode(b"picture").decode()})
ALT = {"mystnb": {"image": {"alt": "Loss falling from 5 to 1 in 300 steps"}}}


def code(name, count=1, outputs=(), **metadata):
    return new_code_cell("x = 1", id=name, execution_count=count, outputs=list(outputs), metadata=metadata)


TITLE = new_markdown_cell("# Week 3 · CLIP", id="title")
GOOD = [TITLE, code("figure-loss", 1, [PICTURE], **ALT), code("exercise-1-stub", 2, tags=["exercise-stub"]),
        code("exercise-1-check", 3, tags=["exercise-check"]),
        code("exercise-1-solution", 4, tags=["solution"])]  # fmt: skip
ERROR = new_output("error", ename="ValueError", evalue="bad", traceback=[])


def printed(text):
    return new_output("stream", name="stdout", text=text)


@pytest.mark.parametrize(("check", "cells", "message"), [
    ("one title, on top", [code("first"), TITLE], "headings of level one"),
    ("one title, on top", [TITLE, new_markdown_cell("# Another", id="other")], "has 2 headings"),
    ("cell ids are readable and differ", [TITLE, code("1a2b3c4d")], "id '1a2b3c4d'"),
    ("cell ids are readable and differ", [TITLE, code("Train_Model")], "id 'Train_Model'"),
    ("cell ids are readable and differ", [TITLE, code("same"), code("same", 2)], "two cells have the id 'same'"),
    ("every cell was run, in order", [TITLE, code("first", None)], "no stored outputs"),
    ("every cell was run, in order", [TITLE, code("first", 1), code("late", 7)], "cell 'late' was not run"),
    ("no stored errors", [TITLE, code("bad", 1, [ERROR])], "cell 'bad' stores the error ValueError"),
    ("every figure has alt text", [TITLE, code("figure", 1, [PICTURE])], "cell 'figure' shows a picture without alt"),
    ("every figure has alt text",
     [TITLE, code("figure", 1, [PICTURE], mystnb={"image": {"alt": "build/figures/picture.png"}})], "without alt text"),
    ("every figure has alt text", [TITLE, new_markdown_cell("![](x.png)", id="pic")], "an image without alt text"),
    ("outputs take at most 400 KiB", [TITLE, code("loud", 1, [printed("x" * 500_000)])], "cell 'loud', the largest"),
    ("no paths of a machine", [TITLE, code("place", 1, [printed(f"saved {HOME}/me/x.pt")])], f"{HOME}/me/x.pt"),
    ("exercises are complete", [TITLE, code("stub", tags=["exercise-stub"])], "1 exercise-stub, 0 exercise-check"),
])  # fmt: skip
def test_each_check_fails_where_it_should(check, cells, message):
    assert CELL_CHECKS[check](GOOD) == []
    found = CELL_CHECKS[check](cells)
    assert found and message in found[0]


def test_pictures_are_not_searched_for_paths():
    picture = new_output("display_data", {"image/png": f"abc{HOME}/def", "text/plain": "<Figure>"})
    assert CELL_CHECKS["no paths of a machine"]([code("figure", 1, [picture])]) == []


def verdicts(repo, course, progress, **options):
    return {check.name: check.problems for check in check_chapter(repo, course, course.week(3), progress, **options)}


def test_a_chapter_that_was_run_and_left_alone_fails_only_for_its_foreign_receipt(repo, course, progress):
    run_chapter(repo, course.week(3), progress, preset="cpu")
    found = verdicts(repo, course, progress)
    failing = {name: problems for name, problems in found.items() if problems}
    assert list(failing) == ["the receipt belongs to this notebook and holds"]
    assert "is of other code (models.clip, notebook): `course verify 3` says" in " ".join(*failing.values())


def test_a_missing_receipt_and_a_damaged_one_are_told(repo, course, progress):
    name = "the receipt belongs to this notebook and holds"
    assert "is missing: run the chapter" in verdicts(repo, course, progress, smoke=False)[name][0]
    path = repo / course.week(3).receipt
    path.parent.mkdir()
    path.write_text("{ not json")
    assert "week03.json" in verdicts(repo, course, progress, smoke=False)[name][0]
    path.write_text(json.dumps({"week": 3}))
    assert "lacks" in verdicts(repo, course, progress, smoke=False)[name][0]


def test_a_smoke_run_over_its_budget_names_the_slowest_cell(repo, course, progress, notebook_of, monkeypatch):
    monkeypatch.setattr(checks, "SMOKE_LIMIT", 0.2)
    nbformat.write(notebook_of("import time\ntime.sleep(0.5)"), repo / NOTEBOOK)
    (problems,) = [found for name, found in verdicts(repo, course, progress).items() if "smoke" in name]
    assert "the slowest cell is 'cell-1'" in problems[0]


def test_a_smoke_run_that_fails_is_a_problem_and_no_crash(repo, course, progress, notebook_of):
    nbformat.write(notebook_of("1 / 0"), repo / NOTEBOOK)
    (problems,) = [found for name, found in verdicts(repo, course, progress).items() if "smoke" in name]
    assert "cell 'cell-1' failed with ZeroDivisionError" in problems[0]


def test_what_is_no_notebook_is_told(repo, course, progress):
    (repo / NOTEBOOK).write_text("{}")
    assert verdicts(repo, course, progress)["the notebook is valid"]


def test_a_week_without_a_chapter(repo, course, progress):
    with pytest.raises(ValueError, match="Week 2 has no chapter to check yet"):
        next(check_chapter(repo, course, course.week(2), progress))
