"""Receipts: what they hold, how they age, and what keeps one from being published."""

import errno
import json
import math
import os
import re
import subprocess
import sys

import pytest

from tinyvlm import evidence
from tinyvlm.training.receipts import KEYS, NEWER, Receipt, Standing, core_difference, read_receipt, standing, verify


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A run notebook beside the working directory."""
    path = tmp_path / "week03_clip.ipynb"
    output = {"output_type": "stream", "name": "stdout", "text": "R@1 0.97"}
    cells = [
        {"cell_type": "code", "id": "train", "source": "x = 1", "outputs": [output], "execution_count": 1},
        {"cell_type": "code", "id": "show", "source": "x", "outputs": [], "execution_count": 2},
    ]
    path.write_text(json.dumps({"cells": cells, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evidence, "_read", {"data/nouns.json"})  # not what earlier tests have read
    return path


def filled(preset="cpu"):
    receipt = Receipt(3, "week03_clip.ipynb", preset, "micro", seed=0)
    receipt.metric("R@1", 0.97, baseline=0.2, chance=1 / 512)
    receipt.metric("loss", 0.1, higher_is_better=False)
    receipt.changes("CLIP", {"object": {"value": 0.97, "n": 1024}})
    receipt.claim({"id": "binding", "verdict": "held"})
    receipt.claim([{"id": "swaps"}, {"id": "temperature"}])
    return receipt


def test_a_receipt_holds_what_the_pages_show(book):
    receipt = filled().finish()
    assert set(receipt) == {*KEYS, *NEWER}
    assert (receipt["week"], receipt["notebook"], receipt["preset"], receipt["size"]) == (
        3,
        "week03_clip",
        "cpu",
        "micro",
    )
    assert receipt["metrics"]["R@1"] == {"value": 0.97, "baseline": 0.2, "chance": 1 / 512, "higher_is_better": True}
    assert receipt["metrics"]["loss"]["baseline"] is None and not receipt["metrics"]["loss"]["higher_is_better"]
    assert receipt["single_changes"] == {"CLIP": {"object": {"value": 0.97, "n": 1024}}}
    assert receipt["single_change_runs"] == {"CLIP": {"seeds": 1, "budget": ""}}
    assert [claim["id"] for claim in receipt["claims"]] == ["binding", "swaps", "temperature"]
    assert len(receipt["code"]["notebook"]) == 12 and all(receipt["inputs"].values())
    assert receipt["peak_memory_mb"] > 1 and receipt["seconds"] >= 0
    assert {"python", "torch", "numpy"} <= receipt["versions"].keys()
    assert json.loads(json.dumps(receipt)) == receipt


def test_a_row_of_changes_says_over_how_many_seeds_and_from_which_budget():
    receipt = filled()
    receipt.changes("ALBEF", {"object": {"value": 0.9, "n": 8}}, seeds=3, budget="1–2 objects, 700 updates")
    assert receipt.finish()["single_change_runs"]["ALBEF"] == {"seeds": 3, "budget": "1–2 objects, 700 updates"}
    with pytest.raises(ValueError, match="'CLIP' is a mean over 0 seeds"):
        receipt.changes("CLIP", {"object": {"value": 0.9, "n": 8}}, seeds=0)


def test_it_is_written_where_the_runner_says_and_reads_back(book, tmp_path, monkeypatch):
    target = tmp_path / "receipts" / "week03.json"
    monkeypatch.setenv("TINYVLM_RECEIPT", str(target))
    receipt = filled().finish()
    assert read_receipt(target) == receipt
    assert [path.name for path in target.parent.iterdir()] == ["week03.json"]


def test_a_notebook_without_a_file_gives_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert filled().finish()["code"] == {}


@pytest.mark.parametrize("value", [math.nan, math.inf, "0.9", None, True])
def test_only_numbers_are_noted(value, book):
    receipt = filled()
    with pytest.raises(ValueError, match="'R@5' has value"):
        receipt.metric("R@5", value)
    with pytest.raises(ValueError, match="'count' of 'CLIP'"):
        receipt.changes("CLIP", {"count": {"value": value, "n": 10}})
    assert "R@5" not in receipt.finish()["metrics"]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Data and evidence of a package of its own, to edit."""
    root = tmp_path / "package"
    for name, text in {"data/assets/nouns.json": "[1]", "zoo/weights/clip/model.safetensors": "12"}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(evidence, "PACKAGE", root)
    monkeypatch.setattr(evidence, "_read", set())
    return root


def test_standing_follows_code_data_and_stamp(book, package):
    evidence.note("data/nouns.json")
    evidence.note("zoo/clip")
    receipt = filled().finish()
    assert set(receipt["inputs"]) == {"data/nouns.json", "zoo/clip"}
    assert standing(receipt, book) == Standing("this")
    book.write_text(book.read_text().replace("x = 1", "x = 1  # one"))
    assert standing(receipt, book).state == "this"
    book.write_text(book.read_text().replace("x = 1", "x = 2"))
    assert standing(receipt, book) == Standing("changed", ("notebook",))
    from tinyvlm.training.fingerprint import notebook_code

    receipt["verified"] = {"date": "2026-01-02", "code": notebook_code(book, receipt["inputs"])}
    assert standing(receipt, book) == Standing("verified", ("notebook",), "2026-01-02")
    weights = package / "zoo/weights/clip/model.safetensors"
    (weights.parent / "provenance.json").write_text("{}")
    assert standing(receipt, book).state == "verified"
    weights.write_text("00")
    assert standing(receipt, book) == Standing("changed", ("notebook", "zoo/clip"))
    weights.unlink()
    assert standing(receipt, book).changed == ("notebook", "zoo/clip")


def test_the_digest_of_claims_is_that_of_their_results(package):
    path = package / "evidence/claims/week03.json"
    path.parent.mkdir(parents=True)
    job = {"arm": "a", "seed": 0, "preset": "cpu", "settings": {}, "metrics": {"x": 0.5}, "date": "then"}
    other = job | {"seed": 1}
    path.write_text(json.dumps({"jobs": [job, other]}))
    before = evidence.digest("claims/week03/cpu")
    path.write_text(json.dumps({"jobs": [other | {"date": "now"}, job, job | {"preset": "gpu"}], "verified": {}}))
    assert evidence.digest("claims/week03/cpu") == before
    path.write_text(json.dumps({"jobs": [job, other | {"metrics": {"x": 0.6}}]}))
    assert evidence.digest("claims/week03/cpu") not in ("", before)
    assert evidence.digest("claims/week04/cpu") == ""


def test_a_core_that_differs_from_the_stored_outputs_says_how_to_get_theirs(book, package, monkeypatch):
    folder = package / "evidence"
    folder.mkdir()
    receipt = filled().finish() | {"code": {"notebook": "0", "models.task": "0" * 12, "gone": "1"}, "commit": "c0ffee"}
    (folder / "week03.json").write_text(json.dumps(receipt))
    told = core_difference(3)
    assert "differs in gone, models.task from" in told and re.search(r"git\+https://github.com/.+@c0ffee", told)
    monkeypatch.setenv("TINYVLM_RECEIPT", "x")
    assert core_difference(3) == ""
    monkeypatch.delenv("TINYVLM_RECEIPT")
    from tinyvlm.training.fingerprint import core_code

    now = core_code({"models.task": ""})
    for same in ({"code": now}, {"verified": {"code": now | {"gone": ""}, "commit": "d"}}):
        (folder / "week03.json").write_text(json.dumps(receipt | same))
        assert core_difference(3) == ""
    assert core_difference(4) == ""


def test_a_complete_run_may_be_published(book):
    receipt = filled().finish() | {"seconds": 170.0}
    assert verify(receipt, book) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"preset": "smoke"}, "was run with preset 'smoke', not with cpu or gpu"),
        ({"metrics": {"R@1": {"value": "high"}}}, "'R@1' of week03_clip.ipynb is 'high', not a finite number"),
        ({"metrics": {"R@1": {"value": math.nan}}}, "is nan, not a finite number"),
        ({"metrics": {}}, "holds no metric"),
        ({"seconds": 0}, "took 0 seconds"),
        ({"notebook": "week04_albef"}, "belongs to 'week04_albef', not to week03_clip.ipynb"),
    ],
)
def test_a_receipt_without_a_run_is_found_out(change, words, book):
    wrong = verify(filled().finish() | {"seconds": 170.0} | change, book)
    assert len(wrong) == 1 and words in wrong[0] and wrong[0].endswith("to write a new one.")


def test_a_notebook_without_outputs_or_with_an_error_is_found_out(book):
    receipt = filled().finish() | {"seconds": 170.0}
    content = json.loads(book.read_text())
    content["cells"][1]["outputs"] = [{"output_type": "error", "ename": "KeyError", "evalue": "", "traceback": []}]
    book.write_text(json.dumps(content))
    assert verify(receipt, book)[0].startswith("Cell show of week03_clip.ipynb ended in KeyError")
    for cell in content["cells"]:
        cell["outputs"] = []
    book.write_text(json.dumps(content))
    assert "has a receipt but no outputs" in verify(receipt, book)[0]
    assert [row for row in verify({}, book) if "lacks code" in row]


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (None, FileNotFoundError, "is not there"),
        ('{"week": 3', ValueError, "cannot be read"),
        ("3", ValueError, "holds a int"),
        ('{"week": 3}', ValueError, "lacks notebook, preset"),
    ],
)
def test_what_is_no_receipt_is_named(text, error, words, tmp_path):
    path = tmp_path / "week03.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(error) as raised:
        read_receipt(path)
    assert words in str(raised.value) and "run the chapter with `make week" in str(raised.value)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_receipt(call, book, tmp_path, monkeypatch):
    target = tmp_path / "week03.json"
    target.write_text("old")
    monkeypatch.setenv("TINYVLM_RECEIPT", str(target))
    receipt = filled()

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match=r"week03\.json cannot be written \(no space left on device\): free space"):
        receipt.finish()
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["week03.json", "week03_clip.ipynb"]


def test_a_receipt_below_a_file_is_named(book, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("TINYVLM_RECEIPT", str(tmp_path / "file" / "week03.json"))
    with pytest.raises(OSError, match="choose a folder that can be written"):
        filled().finish()
    assert (tmp_path / "file").read_text() == "mine"


def test_reading_receipts_does_not_import_torch():
    code = "import sys, tinyvlm.training.receipts as r; sys.exit('torch' in sys.modules or 'accelerate' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_training_imports_no_heavy_library():
    code = (
        "import sys, tinyvlm.training as t; t.fit; t.Receipt; "
        "sys.exit(any(name in sys.modules for name in ('accelerate', 'matplotlib', 'transformers', 'IPython')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
