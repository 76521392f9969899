"""Records of code change with the code that can change a number, and with nothing else."""

import json
import textwrap

import pytest

from tinyvlm.training import fingerprint as module
from tinyvlm.training.fingerprint import changed, core_code, module_code, notebook_code


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
        "layers/__init__.py": "from tinyvlm.layers.attention import attend\nfrom tinyvlm.layers.other import unused\n",
        "layers/attention.py": "def attend(x):\n    return x * 2\n",
        "layers/other.py": "unused = 1\n",
        "lazy/__init__.py": "_HOMES = {'World': 'world', 'far': ('Far', 'Farther')}\n\ndef __getattr__(name): ...\n",
        "lazy/world.py": "class World: ...\n",
        "lazy/far.py": "class Far: ...\n",
        "models/__init__.py": "from tinyvlm.models.clip import clip as CLIP\nfrom .git import GIT\n",
        "models/clip.py": "from ..layers import attend\n\n\ndef clip(x):\n    return attend(x)\n",
        "models/git.py": "from tinyvlm.layers import attention\nGIT = 1\n",
        "tools/__init__.py": "from tinyvlm.layers.other import unused\n\ndef own():\n    return 1\n",
        "scores.py": "def score():\n    import tinyvlm.models.git\n",
        "viz/__init__.py": "from tinyvlm.models.git import GIT\n",
        "experiments/week07_checks.py": "CHECK = 1\n",
        "zoo/weights/clip-micro/config.json": '{"model": "CLIP"}',
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(module, "ROOT", root)
    return root


CODE = "from tinyvlm.models import clip\nx = clip.clip(1)\n"


def append(path):
    with path.open("a") as text:
        text.write("\nADDED = 1\n")


@pytest.mark.parametrize(
    "other",
    [
        "# why\nfrom tinyvlm.models import clip  # this\n\n\nx = clip.clip(\n    1,\n)\n",
        "%matplotlib inline\nfrom tinyvlm.models import clip\nx = clip.clip(1)\n",
        "!pip install -q tinyvlm\nfrom tinyvlm.models import clip\nx = clip.clip(1)\n",
    ],
)
def test_comments_formatting_and_magics_do_not_count(other, package, tmp_path):
    plain = notebook_code(notebook(tmp_path / "a.ipynb", CODE))
    assert notebook_code(notebook(tmp_path / "b.ipynb", other)) == plain


@pytest.mark.parametrize(
    "other",
    ["from tinyvlm.models import clip\nx = clip.clip(2)\n", "from tinyvlm.models import clip\nx = 1 * clip.clip(1)\n"],
)
def test_code_counts(other, package, tmp_path):
    assert notebook_code(notebook(tmp_path / "a.ipynb", CODE)) != notebook_code(notebook(tmp_path / "b.ipynb", other))


def test_outputs_ids_and_text_cells_do_not_count(package, tmp_path):
    path = notebook(tmp_path / "a.ipynb", CODE)
    before = notebook_code(path)
    content = json.loads(path.read_text())
    content["cells"][0]["source"] = "other words"
    content["cells"][1] |= {"id": "new", "outputs": [{"output_type": "stream", "text": "hello"}], "execution_count": 3}
    path.write_text(json.dumps(content))
    assert notebook_code(path) == before


@pytest.mark.parametrize(
    ("cell", "covered"),
    [
        ("from tinyvlm.models import clip", {"models.clip", "layers.attention"}),
        ("from tinyvlm.models import CLIP", {"models.clip", "layers.attention"}),
        ("import tinyvlm.models.clip as c", {"models.clip", "layers.attention"}),
        ("from tinyvlm.layers import attend", {"layers.attention"}),
        ("from tinyvlm import layers", {"layers.attention", "layers.other"}),
        ("from tinyvlm.layers import *", {"layers.attention", "layers.other"}),
        ("from tinyvlm.lazy import World", {"lazy.world"}),
        ("from tinyvlm.lazy import Farther", {"lazy.far"}),
        ("from tinyvlm.tools import own", {"tools", "layers.other"}),
        ("from tinyvlm import viz, scores", {"scores", "models.git", "layers.attention"}),
        ("from tinyvlm.experiments import week07_checks", set()),
        ("import torch, tinyvlm", set()),
    ],
)
def test_names_are_followed_to_the_modules_that_define_them(cell, covered, package, tmp_path):
    assert set(notebook_code(notebook(tmp_path / "a.ipynb", cell))) == covered | {"notebook"}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("models/clip.py", "models.clip"),
        ("layers/attention.py", "layers.attention"),
        ("layers/__init__.py", None),
        ("models/__init__.py", None),
        ("models/git.py", None),
        ("viz/__init__.py", None),
    ],
)
def test_a_changed_module_is_named_when_it_is_used(file, name, package, tmp_path):
    path = notebook(tmp_path / "a.ipynb", CODE)
    before = notebook_code(path)
    append(package / file)
    assert changed(before, notebook_code(path)) == ([name] if name else [])
    assert changed(core_code(before), core_code(before)) == []
    assert [key for key, value in core_code(before).items() if before[key] != value] == ([name] if name else [])


def test_a_new_paper_is_no_part_of_an_earlier_week(package, tmp_path):
    path = notebook(tmp_path / "a.ipynb", "from tinyvlm.models import CLIP")
    before = notebook_code(path)
    (package / "models/beit.py").write_text("class BEiT: ...\n")
    init = package / "models/__init__.py"
    init.write_text("from tinyvlm.models.beit import BEiT\n" + init.read_text())
    assert notebook_code(path) == before


def test_the_class_of_loaded_weights_belongs_to_the_code(package, tmp_path):
    path = notebook(tmp_path / "a.ipynb", "from tinyvlm import zoo\nzoo.load('clip-micro')")
    assert set(notebook_code(path)) == {"notebook"}
    assert set(notebook_code(path, ["zoo/clip-micro", "data/x", "zoo/gone"])) == {
        "notebook", "models.clip", "layers.attention",
    }  # fmt: skip


def test_a_module_that_is_gone_is_named(package, tmp_path):
    before = notebook_code(notebook(tmp_path / "a.ipynb", CODE))
    (package / "models/clip.py").unlink()
    assert core_code(before)["models.clip"] == ""


def test_docstrings_and_comments_of_modules_do_not_count(package, tmp_path):
    path = notebook(tmp_path / "a.ipynb", CODE)
    before = notebook_code(path)
    (package / "layers/attention.py").write_text(
        '"""New."""\n\n\ndef attend(x):  # twice\n    """Twice."""\n    return x * 2\n'
    )
    assert notebook_code(path) == before


@pytest.mark.parametrize(
    "cell", ["%load_ext autoreload\nx = 1", "if True:\n    !ls -l\n    y = 2", "%%bash\nx = 3", ""]
)
def test_lines_for_ipython_do_not_break_it(cell, package, tmp_path):
    assert len(notebook_code(notebook(tmp_path / "a.ipynb", cell, CODE))) == 3


def test_a_percent_at_the_start_of_a_line_of_python_is_python(package, tmp_path):
    one = notebook_code(notebook(tmp_path / "a.ipynb", "x = (7\n% 4)"))
    assert one != notebook_code(notebook(tmp_path / "b.ipynb", "x = (7\n% 5)"))


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
        notebook_code(path)
    assert message in str(raised.value) and str(path) in str(raised.value)


def test_a_cell_that_is_no_python_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"Cell c1 of .*a\.ipynb is no Python \(.*line 2\)"):
        notebook_code(notebook(tmp_path / "a.ipynb", "x = 1", "x = 1\nfor in:"))


def test_a_modules_record_follows_its_imports(package):
    before = module_code("tinyvlm.models.clip")
    assert set(before) == {"models.clip", "layers.attention"} and before == module_code("tinyvlm.models.clip")
    append(package / "models/git.py")
    assert module_code("tinyvlm.models.clip") == before
    append(package / "layers/attention.py")
    assert changed(before, module_code("tinyvlm.models.clip")) == ["layers.attention"]
    with pytest.raises(FileNotFoundError, match=r"tinyvlm\.nothing has no source file"):
        module_code("tinyvlm.nothing")


def test_the_real_package_is_covered():
    """A week's record holds the seam of its task, which the loop imports from another folder, and no later paper."""
    code = module_code("tinyvlm.experiments.week03")
    assert {"training.update", "training.stages", "models.task", "models.clip", "data.world"} <= code.keys()
    assert not {"models.albef", "models.pixel_bert", "viz", "training.progress"} & code.keys()
