"""Pointing a fork at its own repository: course.yml, set-up cells and front matter, and nothing else."""

import json

import nbformat
import pytest

from coursekit.fork import point_at
from coursekit.load import load_course

SETUP = '%pip install -q "tinyvlm @ git+https://github.com/your-group/vlm-course.git"'


def test_every_place_follows(repo, notebook_of):
    path = repo / "notebooks/week03_clip.ipynb"
    notebook = notebook_of(SETUP, "print('https://github.com/your-group/vlm-course-2')")
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="your-group/vlm-course")]
    nbformat.write(notebook, path)
    (repo / "README.md").write_text("[Colab](https://colab.research.google.com/github/your-group/vlm-course/blob/x)")
    comments = (repo / "course.yml").read_text(encoding="utf-8").count("#")

    changed = point_at(repo, "https://github.com/else/where/")

    assert changed == ["course.yml", "notebooks/week03_clip.ipynb", "README.md"]
    assert load_course(repo).slug == "else/where"
    assert (repo / "course.yml").read_text(encoding="utf-8").count("#") == comments
    after = nbformat.read(path, as_version=4)
    assert "github.com/else/where.git" in after.cells[1].source
    assert "your-group/vlm-course-2" in after.cells[2].source  # another repository's name
    assert after.cells[2].outputs[0].text == "your-group/vlm-course"  # what a run printed stays
    assert "github/else/where/blob" in (repo / "README.md").read_text()
    assert point_at(repo, "https://github.com/else/where") == []


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
    nbformat.write(notebook_of(SETUP), path)
    before = json.loads(path.read_text(encoding="utf-8"))
    point_at(repo, "https://github.com/else/where")
    after = json.loads(path.read_text(encoding="utf-8").replace("else/where", "your-group/vlm-course"))
    assert after == before
