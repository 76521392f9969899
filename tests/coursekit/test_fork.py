"""Pointing a fork at its own repository: course.yml, set-up cells and front matter, and nothing else."""

import json

import nbformat
import pytest

from coursekit.consistency import problems
from coursekit.fork import point_at
from coursekit.load import load_course

README = """git clone https://github.com/your-group/vlm-course && cd vlm-course
[Colab](https://colab.research.google.com/github/your-group/vlm-course/blob/main/notebooks/week03_clip.ipynb)
cd vlm-course-2; https://github.com/your-group/vlm-course/tree/main-2
"""


def test_every_place_follows(repo, notebook_of):
    path = repo / "notebooks/week03_clip.ipynb"
    notebook = notebook_of("print('https://github.com/your-group/vlm-course-2')")
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="your-group/vlm-course")]
    nbformat.write(notebook, path)
    (repo / "README.md").write_text(README)
    comments = (repo / "course.yml").read_text(encoding="utf-8").count("#")

    changed = point_at(repo, "https://github.com/else/where/")

    assert changed == ["course.yml", "notebooks/week03_clip.ipynb", "README.md"]
    assert (load_course(repo).slug, load_course(repo).branch) == ("else/where", "main")
    assert (repo / "course.yml").read_text(encoding="utf-8").count("#") == comments
    after = nbformat.read(path, as_version=4)
    assert "github.com/else/where.git@main" in after.cells[1].source
    assert "your-group/vlm-course-2" in after.cells[2].source  # another repository's name
    assert after.cells[2].outputs[0].text == "your-group/vlm-course"  # what a run printed stays
    expected = README.replace("your-group/vlm-course", "else/where").replace("cd vlm-course\n", "cd where\n")
    assert (repo / "README.md").read_text() == expected
    assert problems(repo, load_course(repo)) == []
    assert point_at(repo, "https://github.com/else/where") == []


def test_a_branch_follows_where_it_stands(repo):
    (repo / "README.md").write_text(README)
    workflow = repo / ".github/workflows/pages.yml"
    workflow.parent.mkdir(parents=True)
    workflow.write_text("on:\n  push:\n    branches: [main]\n")
    changed = point_at(repo, "https://github.com/your-group/vlm-course", "season-4")
    assert changed == ["course.yml", "notebooks/week03_clip.ipynb", "README.md", ".github/workflows/pages.yml"]
    assert load_course(repo).branch == "season-4" and problems(repo, load_course(repo)) == []
    assert (repo / "README.md").read_text() == README.replace("/blob/main/", "/blob/season-4/")
    assert "branches: [season-4]" in workflow.read_text()


def test_a_course_file_without_a_branch_gets_one(repo):
    path = repo / "course.yml"
    path.write_text(path.read_text(encoding="utf-8").replace("branch: main\n", ""), encoding="utf-8")
    point_at(repo, "https://github.com/else/where", "next")
    assert load_course(repo).branch == "next" and problems(repo, load_course(repo)) == []


@pytest.mark.parametrize("branch", ["", "two words", "-x", "a/", "a:b"])
def test_what_is_no_branch_changes_nothing(repo, branch):
    before = (repo / "course.yml").read_bytes()
    with pytest.raises(ValueError, match="is not a branch: write letters"):
        point_at(repo, "https://github.com/else/where", branch)
    assert (repo / "course.yml").read_bytes() == before


@pytest.mark.parametrize("url", [
    "", "else/where", "http://github.com/else/where", "https://github.com/else", "https://gitlab.com/else/where",
    "https://github.com/else/where/tree/main",
])  # fmt: skip
def test_what_is_no_repository_changes_nothing(repo, url):
    before = (repo / "course.yml").read_bytes()
    with pytest.raises(ValueError, match="is not a repository: write https://github"):
        point_at(repo, url)
    assert (repo / "course.yml").read_bytes() == before


def test_notebooks_keep_their_form(repo, notebook_of):
    path = repo / "notebooks/week03_clip.ipynb"
    nbformat.write(notebook_of(), path)
    before = json.loads(path.read_text(encoding="utf-8"))
    point_at(repo, "https://github.com/else/where")
    after = json.loads(path.read_text(encoding="utf-8").replace("else/where", "your-group/vlm-course"))
    assert after == before
