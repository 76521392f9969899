"""Fingerprints change with the code and with nothing else."""

import json
import textwrap

import pytest

from tinyvlm.training import fingerprint as module
from tinyvlm.training.fingerprint import fingerprint, module_fingerprint


def notebook(path, *cells):
    """Write a notebook of code cells, with a text cell in front."""
    rows = [{"cell_type": "markdown", "id": "words", "source": "# Title", "metadata": {}}]
    for number, text in enumerate(cells):
        source = textwrap.dedent(text).splitlines(keepends=True)
        rows.append({"cell_type": "code", "id": f"c{number}", "source": source, "outputs": [], "metadata": {}})
    path.write_text(json.dumps({"cells": rows, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}))
    return path


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package `tinyvlm` on the disk, to edit without touching the real one."""
    root = tmp_path / "tinyvlm"
    files = {
        "__init__.py": "",
        "layers/__init__.py": "",
        "layers/attention.py": "def attend(x):\n    return x * 2\n",
        "models/__init__.py": "",
        "models/clip.py": "from ..layers.attention import attend\n\n\ndef clip(x):\n    return attend(x)\n",
        "models/git.py": "from tinyvlm.layers import attention\n",
        "viz.py": "def draw():\n    import tinyvlm.models.git\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(module, "ROOT", root)
    return root


CODE = "from tinyvlm.models import clip\nx = clip.clip(1)\n"


@pytest.mark.parametrize(
    "other",
    [
        "# why\nfrom tinyvlm.models import clip  # this\n\n\nx = clip.clip(\n    1,\n)\n",
        "%matplotlib inline\nfrom tinyvlm.models import clip\nx = clip.clip(1)\n",
        "!pip install -q tinyvlm\nfrom tinyvlm.models import clip\nx = clip.clip(1)\nclip?\n",
        "%%time\nfrom tinyvlm.models import clip\nx = clip.clip(1)",
    ],
)
def test_comments_formatting_and_magics_do_not_count(other, package, tmp_path):
    plain = fingerprint(notebook(tmp_path / "a.ipynb", CODE))
    assert fingerprint(notebook(tmp_path / "b.ipynb", other)) == plain


@pytest.mark.parametrize(
    "other",
    ["from tinyvlm.models import clip\nx = clip.clip(2)\n", "from tinyvlm.models import clip\nx = 1 * clip.clip(1)\n"],
)
def test_code_counts(other, package, tmp_path):
    assert fingerprint(notebook(tmp_path / "a.ipynb", CODE)) != fingerprint(notebook(tmp_path / "b.ipynb", other))


def test_outputs_ids_and_text_cells_do_not_count(package, tmp_path):
    path = notebook(tmp_path / "a.ipynb", CODE)
    before = fingerprint(path)
    content = json.loads(path.read_text())
    content["cells"][0]["source"] = "other words"
    content["cells"][1] |= {"id": "new", "outputs": [{"output_type": "stream", "text": "hello"}], "execution_count": 3}
    path.write_text(json.dumps(content))
    assert fingerprint(path) == before


@pytest.mark.parametrize(
    ("file", "counts"),
    [("models/clip.py", True), ("layers/attention.py", True), ("layers/__init__.py", True), ("models/git.py", False)],
)
def test_modules_count_when_they_are_imported_directly_or_through_others(file, counts, package, tmp_path):
    path = notebook(tmp_path / "a.ipynb", CODE)
    before = fingerprint(path)
    with (package / file).open("a") as text:
        text.write("\nADDED = 1\n")
    assert (fingerprint(path) != before) is counts


def test_docstrings_and_comments_of_modules_do_not_count(package, tmp_path):
    path = notebook(tmp_path / "a.ipynb", CODE)
    before = fingerprint(path)
    (package / "layers/attention.py").write_text(
        '"""New."""\n\n\ndef attend(x):  # twice\n    """Twice."""\n    return x * 2\n'
    )
    assert fingerprint(path) == before


def test_imports_within_functions_count(package, tmp_path):
    path = notebook(tmp_path / "a.ipynb", "import tinyvlm.viz as viz")
    before = fingerprint(path)
    (package / "models/git.py").write_text("CHANGED = True\n")
    assert fingerprint(path) != before


@pytest.mark.parametrize(
    "cell",
    [
        "%load_ext autoreload\nx = 1",
        "if True:\n    !ls -l\n    y = 2",
        "files = !ls\nprint(files)",
        "t = %timeit -o sum([1])",
        "%%bash\nfor f in *; do echo $f; done",
        "%%html\n<b>bold</b>",
        "sum?",
        "?sum",
        "",
    ],
)
def test_lines_for_ipython_do_not_break_it(cell, package, tmp_path):
    assert len(fingerprint(notebook(tmp_path / "a.ipynb", cell, CODE))) == 64


def test_a_percent_at_the_start_of_a_line_of_python_is_python(package, tmp_path):
    one = fingerprint(notebook(tmp_path / "a.ipynb", "x = (7\n% 4)"))
    assert one != fingerprint(notebook(tmp_path / "b.ipynb", "x = (7\n% 5)"))


def test_a_cell_in_another_language_counts_as_text(package, tmp_path):
    one = fingerprint(notebook(tmp_path / "a.ipynb", "%%bash\necho 1"))
    assert one != fingerprint(notebook(tmp_path / "b.ipynb", "%%bash\necho 2"))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (None, FileNotFoundError, "is not there: give the path of an .ipynb file"),
        ("{", ValueError, "cannot be read"),
        ("[1]", ValueError, "holds a list where an object is needed"),
        ("{}", ValueError, "holds no list of cells"),
    ],
)
def test_what_is_no_notebook_is_named(text, error, message, tmp_path):
    path = tmp_path / "a.ipynb"
    if text is not None:
        path.write_text(text)
    with pytest.raises(error) as raised:
        fingerprint(path)
    assert message in str(raised.value) and str(path) in str(raised.value)


def test_a_cell_that_is_no_python_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"Cell c1 of .*a\.ipynb is no Python \(.*line 2\)"):
        fingerprint(notebook(tmp_path / "a.ipynb", "x = 1", "x = 1\nfor in:"))


def test_a_modules_fingerprint_follows_its_imports(package):
    before = module_fingerprint("tinyvlm.models.clip")
    assert before == module_fingerprint("tinyvlm.models.clip")
    (package / "models/git.py").write_text("CHANGED = True\n")
    assert module_fingerprint("tinyvlm.models.clip") == before
    (package / "layers/attention.py").write_text("def attend(x):\n    return x * 3\n")
    assert module_fingerprint("tinyvlm.models.clip") != before
    with pytest.raises(FileNotFoundError, match=r"tinyvlm\.nothing has no source file"):
        module_fingerprint("tinyvlm.nothing")


def test_the_real_package_is_covered():
    """The loop's modules include the task seam, which it imports from another package folder."""
    trees = dict(module._modules([], "")) or {}
    assert trees == {}
    import ast

    names = dict(module._modules([ast.parse("from tinyvlm.training import loop")]))
    assert {"tinyvlm", "tinyvlm.training.update", "tinyvlm.training.stages", "tinyvlm.models.task"} <= names.keys()
