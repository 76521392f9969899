"""Verifying changed code: stamps when every number is the run's, else changes nothing; data has no canary."""

import json
import subprocess

import nbformat
import pytest

from coursekit import verify as module
from coursekit.receipts import proof
from coursekit.verify import added, commit, verify
from tinyvlm import evidence
from tinyvlm.experiments import canary as canaries
from tinyvlm.training.fingerprint import notebook_code

NOTEBOOK, RECEIPT = "notebooks/week03_clip.ipynb", "notebooks/receipts/week03.json"
CANARY = {"arm": "CLIP", "losses": [[2.0, 1.0]], "metrics": {"object": 0.5}}
SETTINGS = {"cpu": {"CLIP": {"steps": 5}}, "gpu": {"CLIP": {"steps": 9}}}


@pytest.fixture
def today(monkeypatch):
    """What the canary of the present code gives; a test may edit it."""
    found = {"canary": CANARY, "settings": SETTINGS}
    monkeypatch.setattr(canaries, "run_canary", lambda week: (found["canary"], found["settings"]))
    return found


@pytest.fixture
def week(repo, course, receipt):
    """Week 3 with a receipt of other code, which keeps its canary."""
    kept = {"canary": CANARY, "settings": SETTINGS["cpu"], "smoke": {"R@1": 0.5}, "inputs": {}}
    code = notebook_code(repo / NOTEBOOK) | {"models.gone": "0" * 12}
    (repo / RECEIPT).parent.mkdir()
    (repo / RECEIPT).write_text(json.dumps(receipt | kept | {"code": code}))
    return course.week(3)


def contents(repo):
    return {path: path.read_bytes() for path in (repo / "notebooks").rglob("*") if path.is_file()}


def claims(repo, **changes):
    path = repo / "notebooks/receipts/claims/week03.json"
    path.parent.mkdir()
    job = {
        "arm": "CLIP", "seed": 0, "preset": "cpu", "code": "c0de", "date": "then", "seconds": 1.0,
        "settings": {"steps": 5}, "inputs": {}, "metrics": {"object": 0.9},
    }  # fmt: skip
    codes = {"c0de": {"modules": {}, "canary": CANARY}}
    path.write_text(json.dumps({"week": "week03", "codes": codes, "jobs": [job | changes]}))
    return path


def test_the_same_numbers_stamp_receipt_and_claims(repo, week, today, progress):
    path = claims(repo)
    assert proof(repo, week).state == "changed"
    before = json.loads((repo / RECEIPT).read_text())
    assert verify(repo, week, progress) == module.Verified([], 1)
    shown = proof(repo, week)
    assert shown.state == "verified" and shown.standing.changed == ("models.gone",)
    after = json.loads((repo / RECEIPT).read_text())
    assert after.pop("verified")["code"] == notebook_code(repo / NOTEBOOK) and after == before
    assert json.loads(path.read_text())["jobs"][0]["verified"] is True


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"canary": CANARY | {"losses": [[2.0, 1.1]]}}, "loss 2 of training 1 was 1 and is 1.1"),
        ({"canary": CANARY | {"metrics": {"object": 0.7}}}, "'object' was 0.5 and is 0.7"),
        ({"settings": {"cpu": {"CLIP": {"steps": 6}}}}, "steps of arm 'CLIP' was 5 and is 6"),
    ],
)
def test_another_number_is_named_and_nothing_changes(repo, week, today, progress, change, words):
    before = contents(repo)
    today.update(change)
    assert words in verify(repo, week, progress).differences
    assert contents(repo) == before and proof(repo, week).state == "changed"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"settings": {"steps": 4}}, "claims, CLIP, seed 0 (cpu): its steps was 4 and is 5"),
        ({"arm": "gone"}, "claims, gone, seed 0 (cpu): the arm is no longer there"),
        ({"code": "lost"}, "claims, CLIP, seed 0 (cpu): no canary was kept for its code"),
        ({"inputs": {"zoo/nothing": "12"}}, "claims, CLIP, seed 0 (cpu): zoo/nothing is another file now"),
    ],
)
def test_a_claim_that_does_not_hold_is_named_and_nothing_changes(repo, week, today, progress, change, words):
    claims(repo, **change)
    before = contents(repo)
    assert verify(repo, week, progress).differences == [words]
    assert contents(repo) == before


def test_other_data_cannot_be_verified(repo, week, today, progress):
    receipt = json.loads((repo / RECEIPT).read_text())
    (repo / RECEIPT).write_text(json.dumps(receipt | {"inputs": {"data/nouns.json": "0" * 12}}))
    assert verify(repo, week, progress).differences == ["data/nouns.json is another file than the run read"]
    inputs = {"data/nouns.json": evidence.digest("data/nouns.json")}
    (repo / RECEIPT).write_text(json.dumps(receipt | {"inputs": inputs}))
    assert verify(repo, week, progress).differences == []


def test_a_notebook_of_other_cells_is_run_in_smoke(repo, week, today, progress, notebook_of, receipt):
    nbformat.write(notebook_of("print('other')"), repo / NOTEBOOK)
    assert verify(repo, week, progress).differences == []
    assert progress.begun and proof(repo, week).state == "verified"
    metrics = {"R@1": {"value": 0.6}, "training seconds": {"value": 7.0}}
    nbformat.write(notebook_of("print('worse')", receipt=receipt | {"metrics": metrics}), repo / NOTEBOOK)
    assert verify(repo, week, progress).differences == ["'R@1' was 0.5 and is 0.6"]


def test_a_receipt_that_cannot_be_verified_is_told(repo, course, receipt, today, progress):
    with pytest.raises(ValueError, match="Week 3 has no receipt to verify"):
        verify(repo, course.week(3), progress)
    (repo / RECEIPT).parent.mkdir()
    (repo / RECEIPT).write_text(json.dumps(receipt))
    with pytest.raises(ValueError, match=r"keeps no canary, smoke, settings to compare with: run the chapter"):
        verify(repo, course.week(3), progress)


def test_a_run_keeps_what_verifying_needs(repo, course, today, progress):
    found = added(repo, course.week(3), "cpu", progress)
    assert found == {"canary": CANARY, "smoke": {"R@1": 0.5}, "settings": SETTINGS["cpu"], "commit": ""}


def test_a_commit_is_named_when_it_holds_the_core(repo):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.example", *words], cwd=repo, check=True)

    core = repo / "src/tinyvlm/core.py"
    core.parent.mkdir(parents=True)
    core.write_text("x = 1")
    git("init", "-q")
    assert commit(repo) == ""
    git("add", "src")
    git("commit", "-qm", "core")
    (repo / "notebooks/new.ipynb").write_text("{}")
    weights = repo / "src/tinyvlm/zoo/weights/a.bin"
    weights.parent.mkdir(parents=True)
    weights.write_text("0")
    assert len(commit(repo)) == 40
    core.write_text("x = 2")
    assert commit(repo) == ""
