"""Lies that receipts must find out: each edit of a copy of this repository ends in the state "changed".

The numbers of a chapter rest on its code and its data. An edit that moves a number has to show twice: `course why`
names it, and `course verify` refuses to stamp it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from coursekit.load import load_course
from coursekit.receipts import proof

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """What runs and verifies: the packages, the notebooks with their receipts, the course."""
    folder = tmp_path_factory.mktemp("original")
    for name in ("src", "notebooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("course.yml", "_toc.yml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def copy(original, tmp_path) -> Path:
    shutil.copytree(original, tmp_path / "copy")
    return tmp_path / "copy"


def course(folder: Path, *words: str) -> tuple[int, str]:
    """Exit status and output of `course WORDS` with the copy's code."""
    done = subprocess.run(
        [sys.executable, "-c", "from coursekit.entry import main; main()", *words],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(folder / "src")}, capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(re.findall(old, text)) >= 1, f"{path.name} has no {old}"
    path.write_text(re.sub(old, new, text, count=1), encoding="utf-8")


def kept(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "notebooks" / "receipts").rglob("*.json")}


@pytest.mark.parametrize("week", range(1, 6))
def test_every_chapter_of_this_repository_is_of_this_code_or_verified(week):
    found = proof(ROOT, load_course(ROOT).week(week))
    assert found is not None and found.state in ("this", "verified"), f"run `course verify {week}`: {found.names}"


MUTATIONS = {
    "an inverted metric": (5, "metrics/contrasts.py", r"true_scores > changed_scores", "true_scores < changed_scores"),
    "a thousandth of a rate": (4, "experiments/week04.py", r"answers_lr: float = 1e-3", "answers_lr: float = 1e-6"),
    "a rate changed where it is used": (5, "experiments/week05.py", r"adamw\(budget\.lr", "adamw(budget.lr / 10"),
    "another split to evaluate on": (5, "experiments/week05.py", r'world\("val"', 'world("train"'),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATIONS)
def test_an_edit_that_moves_a_number_cannot_be_verified(name, copy):
    week, file, old, new = MUTATIONS[name]
    edit(copy / "src" / "tinyvlm" / file, old, new)
    status, told = course(copy, "why", str(week))
    assert status == 1 and file.removesuffix(".py").replace("/", ".") in told.split()
    before = kept(copy)
    status, told = course(copy, "verify", str(week))
    assert status == 1 and f"Week {week}: not the same numbers; nothing was changed." in told and " and is " in told
    assert kept(copy) == before
    assert "changed" in course(copy, "list")[1]


@pytest.mark.slow
def test_zeroed_weights_cannot_be_verified(copy):
    weights = copy / "src/tinyvlm/zoo/weights/pixel-bert-micro/model.safetensors"
    data = weights.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    weights.write_bytes(data[:header] + bytes(len(data) - header))
    assert course(copy, "why", "5") == (1, "zoo/pixel-bert-micro\n")
    status, told = course(copy, "verify", "5")
    assert status == 1 and "zoo/pixel-bert-micro is another file than the run read" in told


@pytest.mark.slow
def test_an_edited_claim_cannot_be_verified(copy):
    path = copy / "notebooks/receipts/claims/week05.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    rows["jobs"][0]["metrics"]["objects swapped"] = 0.99
    path.write_text(json.dumps(rows), encoding="utf-8")
    status, told = course(copy, "why", "5")
    assert status == 1 and told == "claims/week05/cpu\n"
    assert course(copy, "verify", "5")[0] == 1


@pytest.mark.slow
def test_a_new_paper_leaves_earlier_weeks_alone(copy):
    models = copy / "src/tinyvlm/models"
    (models / "beit.py").write_text("class BEiT: ...\n")
    init = models / "__init__.py"
    init.write_text(
        init.read_text().replace(
            "from tinyvlm.models.clip", "from tinyvlm.models.beit import BEiT\nfrom tinyvlm.models.clip"
        )
    )
    for week in range(1, 6):
        here, there = course(ROOT, "why", str(week)), course(copy, "why", str(week))
        assert there == here


@pytest.mark.slow
def test_a_refactor_is_verified_and_then_named(copy):
    """Another way to write the same sum: the numbers hold, and the page says that the code is another."""
    edit(copy / "src/tinyvlm/metrics/contrasts.py", r"0\.5 \* \(", "1 / 2 * (")
    assert "metrics.contrasts" in course(copy, "why", "5")[1].split()
    status, told = course(copy, "verify", "5")
    assert status == 0 and "Week 5: the same numbers; receipt and" in told
    assert re.search(r"ALBEF.*verified since", course(copy, "list")[1])
    assert course(copy, "why", "5")[0] == 1
