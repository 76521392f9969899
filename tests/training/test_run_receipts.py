"""Receipts: what they hold, how they age, and what keeps one from being published."""

import errno
import json
import math
import os
import subprocess
import sys

import pytest

from tinyvlm.training.receipts import KEYS, Receipt, agree, read_receipt, status, verify

CANARY = [2.0 - 0.01 * step for step in range(25)]


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
    receipt = filled().finish(CANARY)
    assert set(receipt) == set(KEYS)
    assert (receipt["week"], receipt["notebook"], receipt["preset"], receipt["size"]) == (
        3,
        "week03_clip",
        "cpu",
        "micro",
    )
    assert receipt["metrics"]["R@1"] == {"value": 0.97, "baseline": 0.2, "chance": 1 / 512, "higher_is_better": True}
    assert receipt["metrics"]["loss"]["baseline"] is None and not receipt["metrics"]["loss"]["higher_is_better"]
    assert receipt["single_changes"] == {"CLIP": {"object": {"value": 0.97, "n": 1024}}}
    assert [claim["id"] for claim in receipt["claims"]] == ["binding", "swaps", "temperature"]
    assert receipt["canary"] == CANARY[:20] and len(receipt["fingerprint"]) == 64
    assert receipt["peak_memory_mb"] > 1 and receipt["seconds"] >= 0
    assert {"python", "torch", "numpy"} <= receipt["versions"].keys()
    assert json.loads(json.dumps(receipt)) == receipt


def test_it_is_written_where_the_runner_says_and_reads_back(book, tmp_path, monkeypatch):
    target = tmp_path / "receipts" / "week03.json"
    monkeypatch.setenv("TINYVLM_RECEIPT", str(target))
    receipt = filled().finish(lambda: CANARY)
    assert read_receipt(target) == receipt
    assert [path.name for path in target.parent.iterdir()] == ["week03.json"]


def test_a_notebook_without_a_file_gives_no_fingerprint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert filled().finish(CANARY)["fingerprint"] == ""


@pytest.mark.parametrize("value", [math.nan, math.inf, "0.9", None, True])
def test_only_numbers_are_noted(value, book):
    receipt = filled()
    with pytest.raises(ValueError, match="'R@5' has value"):
        receipt.metric("R@5", value)
    with pytest.raises(ValueError, match="'count' of 'CLIP'"):
        receipt.changes("CLIP", {"count": {"value": value, "n": 10}})
    assert "R@5" not in receipt.finish(CANARY)["metrics"]


def test_status_follows_the_code_and_then_the_canary(book):
    receipt = filled().finish(CANARY)

    def forbidden():
        raise AssertionError("the canary is not needed for a fresh receipt")

    assert status(receipt, book, forbidden) == "fresh"
    book.write_text(book.read_text().replace("x = 1", "x = 2"))
    assert status(receipt, book, lambda: [x + 5e-5 for x in CANARY[:20]]) == "equivalent"
    assert status(receipt, book, lambda: [x + 1e-3 for x in CANARY[:20]]) == "stale"
    assert status(receipt, book) == "stale"
    book.write_text(book.read_text().replace("x = 2", "x = 1  # one"))
    assert status(receipt, book) == "fresh"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ([1.0, 2.0], [1.00009, 2.0], True),
        ([1.0, 2.0], [1.00011, 2.0], False),
        ([1000.0], [1000.05], True),
        ([1.0], [1.0, 1.0], False),
        ([], [], False),
        ([math.nan], [math.nan], False),
    ],
)
def test_canaries_agree_to_one_in_ten_thousand(one, other, same):
    assert agree(one, other) is same


def test_a_complete_run_may_be_published(book):
    receipt = filled().finish(CANARY) | {"seconds": 170.0}
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
    wrong = verify(filled().finish(CANARY) | {"seconds": 170.0} | change, book)
    assert len(wrong) == 1 and words in wrong[0] and wrong[0].endswith("to write a new one.")


def test_a_notebook_without_outputs_or_with_an_error_is_found_out(book):
    receipt = filled().finish(CANARY) | {"seconds": 170.0}
    content = json.loads(book.read_text())
    content["cells"][1]["outputs"] = [{"output_type": "error", "ename": "KeyError", "evalue": "", "traceback": []}]
    book.write_text(json.dumps(content))
    assert verify(receipt, book)[0].startswith("Cell show of week03_clip.ipynb ended in KeyError")
    for cell in content["cells"]:
        cell["outputs"] = []
    book.write_text(json.dumps(content))
    assert "has a receipt but no outputs" in verify(receipt, book)[0]
    assert [row for row in verify({}, book) if "lacks canary" in row]


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
        receipt.finish(CANARY)
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["week03.json", "week03_clip.ipynb"]


def test_a_receipt_below_a_file_is_named(book, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("TINYVLM_RECEIPT", str(tmp_path / "file" / "week03.json"))
    with pytest.raises(OSError, match="choose a folder that can be written"):
        filled().finish(CANARY)
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
