"""Claims: intervals and verdicts, and the queue of jobs, with real processes of a toy week."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from operator import itemgetter
from pathlib import Path

import pytest
import torch
import toy_week

from tinyvlm import evidence
from tinyvlm.experiments.claims import Claim, arm_results, claim_results, interval, run_claims, verdict, with_live
from tinyvlm.experiments.queue import Job, run_jobs
from tinyvlm.experiments.verdicts import direction

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def code(tmp_path_factory, monkeypatch):
    """The toy's file, in a place where a test may edit it and jobs find it."""
    copy = tmp_path_factory.mktemp("code") / "toy_week.py"
    copy.write_text((HERE / "toy_week.py").read_text())
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(copy.parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(toy_week, "__file__", str(copy))
    return copy


def run(folder, **options):
    return {row["id"]: row for row in run_claims(toy_week, "smoke", folder=folder, **options)}


def jobs(folder):
    """(arm, seed) -> record of the toy's one file; nothing else may lie beside it."""
    assert [path.name for path in folder.iterdir()] == ["toy_week.json"]
    return {(job["arm"], job["seed"]): job for job in json.loads((folder / "toy_week.json").read_text())["jobs"]}


@pytest.mark.parametrize("n", [2, 3, 5, 12, 31])
def test_the_interval_is_that_of_a_paired_t_test(n):
    stats = pytest.importorskip("scipy.stats", reason="scipy is the reference for the interval")
    import numpy as np

    values = np.random.default_rng(n).normal(0.3, 0.2, n)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    low, high = interval(values.tolist())
    half = (high - low) / 2
    assert abs(low - expected.low) < 1e-4 * half and abs(high - expected.high) < 1e-4 * half


def test_the_table_of_t_is_the_distributions():
    stats = pytest.importorskip("scipy.stats", reason="scipy is the reference for the table")
    from tinyvlm.experiments.verdicts import _T

    assert [round(stats.t.ppf(0.975, df), 4) for df in range(1, 31)] == list(_T)


@pytest.mark.parametrize(
    ("differences", "margin", "expected"),
    [
        ([0.4, 0.41, 0.4], 0.0, "held"),
        ([0.4, 0.41, 0.4], 0.5, "not held at this scale"),
        ([0.4, 0.1, -0.2], 0.0, "undecided"),
        ([0.4, 0.41, 0.4], 0.4, "undecided"),
        ([0.5, 0.5, 0.5], 0.2, "held"),
        ([0.5], 0.0, "not tested"),
        ([], 0.0, "not tested"),
    ],
)
def test_verdicts(differences, margin, expected):
    assert verdict(differences, margin) == expected


def test_shared_examples_widen_the_interval_by_the_error_of_two_shares():
    """Simulated: two unrelated tests of n examples each differ by more than the half width in about 5 % of draws."""
    low, high = interval([0.2, 0.2, 0.2], examples=400)
    assert (low + high) / 2 == pytest.approx(0.2)
    draws = torch.rand(4000, 2, 400, generator=torch.Generator().manual_seed(0)) < 0.5
    first, second = draws.double().mean(-1).T
    beyond = ((first - second).abs() > (high - low) / 2).double().mean().item()
    assert 0.03 < beyond < 0.07
    assert verdict([0.05, 0.06, 0.05]) == "held" and verdict([0.05, 0.06, 0.05], examples=400) == "undecided"


def test_a_claim_judges_by_its_own_examples_and_margin():
    claim = direction("a", "A is more.", "share", itemgetter("share"), better="A", worse="B", margin=0.1, examples=400)
    bounds, found = claim.judge([0.15, 0.16, 0.15])
    assert bounds == list(interval([0.15, 0.16, 0.15], 400)) and found == "undecided"
    assert replace(claim, examples=None).judge([0.15, 0.16, 0.15])[1] == "held"
    assert claim.judge([0.3])[0] is None


def test_too_few_and_too_many_seeds():
    assert interval([0.1]) is None
    with pytest.raises(ValueError, match="32 seeds are more than the 31"):
        interval([0.1] * 32)


def test_a_claim_of_no_kind_or_arm_is_named():
    with pytest.raises(ValueError, match="choose headline or direction"):
        Claim("a", "maybe", "", "", ("x",), lambda arms: 0.0)
    with pytest.raises(ValueError, match="names no arm"):
        Claim("a", "headline", "", "", (), lambda arms: 0.0)


def test_the_queue_runs_each_job_once_and_judges(tmp_path, capfd):
    rows = run(tmp_path)
    better, worse = rows["better"], rows["worse"]
    assert better["verdict"] == "held" and better["seeds"] == [0, 1, 2] and better["state"] == "this"
    assert better["per_seed"] == {"method": [0.9, 0.91, 0.9], "baseline": [0.5, 0.5, 0.5]}
    assert better["difference"] == pytest.approx([0.4, 0.41, 0.4]) and better["interval"][0] > 0.38
    assert worse["verdict"] == "not held at this scale" and worse["kind"] == "direction" and worse["margin"] == 1.0
    assert better["quantity"] == "difference" and worse["quantity"] == "value"  # its arms are shown times 100
    assert worse["per_seed"]["broken"] == pytest.approx([40, 40, 41])
    assert json.loads(json.dumps(rows)) == rows
    before = jobs(tmp_path)
    assert set(before) == {(arm, seed) for arm in toy_week.ARMS for seed in range(3)}
    assert before["method", 1]["settings"] == {"kind": "ours", "steps": 1}
    said = capfd.readouterr().out
    assert "method, seed 0 done" in said and said.count("running its canary") == 1
    assert run(tmp_path) == rows and jobs(tmp_path) == before and "canary" not in capfd.readouterr().out
    assert {row["id"]: row for row in claim_results(toy_week, tmp_path, "smoke")} == rows
    assert arm_results(toy_week, tmp_path, "smoke")["broken"][2]["metrics"]["score"] == 0.41
    none = claim_results(toy_week, tmp_path, "cpu")
    assert all(row["seeds"] == [] and row["verdict"] == "not tested" for row in none)


@pytest.fixture
def stored(monkeypatch):
    """Two seeds of the toy week in memory, the method 0.4 above its baseline and then 0.41."""
    scores = {"method": (0.9, 0.91), "baseline": (0.5, 0.5), "broken": (0.4, 0.4)}
    found = {
        arm: {seed: {"metrics": {"score": value}, "state": "this"} for seed, value in enumerate(values)}
        for arm, values in scores.items()
    }
    monkeypatch.setattr("tinyvlm.experiments.claims.arm_results", lambda *_: found)
    return claim_results(toy_week)


def test_a_live_run_that_overturns_a_verdict_leaves_it_undecided(stored):
    assert stored[0]["verdict"] == "held"
    better, worse = with_live(toy_week, stored, {"method": {"score": 0.6}})
    assert better["verdict"] == "undecided" and better["difference"] == pytest.approx([0.4, 0.41])
    live = better["live"]
    assert (live["seed"], live["arms"], live["stored"], live["verdict"]) == (0, ["method"], "held", "undecided")
    assert live["difference"] == pytest.approx(0.1) and live["interval"] == pytest.approx(interval([0.1, 0.41]))
    assert worse == stored[1] and "live" not in stored[0]
    (overturned, _) = with_live(toy_week, stored, {"method": {"score": 0.49}, "baseline": {"score": 0.9}})
    assert overturned["live"]["difference"] == pytest.approx(-0.41) and overturned["live"]["arms"][1] == "baseline"


def test_a_live_run_that_agrees_is_noted_and_the_verdict_stays(stored):
    better, _ = with_live(toy_week, stored, {"method": {"score": 0.92}}, seed=1)
    assert better["verdict"] == "held" and better["live"]["verdict"] == "held"
    assert better["live"]["difference"] == pytest.approx(0.42)
    assert json.loads(json.dumps(better)) == better


@pytest.mark.parametrize(
    ("live", "seed"),
    [({"method": {"score": 0.0}}, 7), ({"nobody": {"score": 0.0}}, 0), ({"method": {"loss": 0.0}}, 0)],
    ids=["another seed", "another arm", "another metric"],
)
def test_a_live_run_that_a_claim_does_not_compare_leaves_it_alone(stored, live, seed):
    assert with_live(toy_week, stored, live, seed) == stored


def test_one_seed_stays_not_tested_whatever_the_live_run_says(stored, monkeypatch):
    one = [row | {"seeds": [0], "difference": row["difference"][:1], "verdict": "not tested"} for row in stored]
    better, _ = with_live(toy_week, one, {"method": {"score": -1.0}})
    assert better["verdict"] == "not tested" and better["live"]["verdict"] == "not tested"


def test_an_undecided_headline_gets_two_more_seeds_in_its_arms_only(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("TOY_METHOD", "shaky")
    rows = run(tmp_path)
    assert rows["better"]["seeds"] == [0, 1, 2, 3, 4] and rows["worse"]["seeds"] == [0, 1, 2]
    assert "Undecided after 3 seeds: better" in capfd.readouterr().out
    assert len(jobs(tmp_path)) == 3 + 5 + 5


def test_a_failed_job_is_told_and_the_others_go_on(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("TOY_FAIL", "method 1")
    with pytest.raises(RuntimeError) as error:
        run(tmp_path, seeds=2, most_seeds=2)
    assert "1 of the jobs failed (method, seed 1: exit code 1, ArithmeticError: the towers fell)" in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert "ArithmeticError: the towers fell" in capfd.readouterr().out
    assert len(jobs(tmp_path)) == 5
    rows = {row["id"]: row for row in claim_results(toy_week, tmp_path, "smoke")}
    assert rows["better"]["seeds"] == [0] and rows["better"]["interval"] is None
    monkeypatch.delenv("TOY_FAIL")
    kept = jobs(tmp_path)
    assert run(tmp_path, seeds=2, most_seeds=2)["better"]["seeds"] == [0, 1]
    assert len(jobs(tmp_path)) == 6 and kept.items() <= jobs(tmp_path).items()


def test_results_of_other_code_hold_when_the_canary_is_the_same(tmp_path, monkeypatch, capfd, code):
    monkeypatch.setattr(toy_week, "CLAIMS", toy_week.CLAIMS[:1])
    run(tmp_path, seeds=1, most_seeds=1)
    before = jobs(tmp_path)
    code.write_text(code.read_text() + "ADDED = 1\n")
    assert claim_results(toy_week, tmp_path, "smoke")[0]["state"] == "changed"
    assert run(tmp_path, seeds=1, most_seeds=1)["better"]["state"] == "verified"
    assert {key: job | {"verified": None} for key, job in jobs(tmp_path).items()} == {
        key: job | {"verified": None} for key, job in before.items()
    }
    capfd.readouterr()
    code.write_text(code.read_text() + "ADDED = 2\n")
    monkeypatch.setenv("TOY_EDIT", "0.001")
    assert run(tmp_path, seeds=1, most_seeds=1)["better"]["state"] == "this"
    assert "method, seed 0 done" in capfd.readouterr().out
    assert jobs(tmp_path)["method", 0]["metrics"]["score"] == pytest.approx(0.901)


def test_what_an_arm_spends_belongs_to_its_result(tmp_path, monkeypatch, code):
    """The canary, which trains the smoke budget, cannot know that another preset's was edited."""
    monkeypatch.setattr(toy_week, "CLAIMS", toy_week.CLAIMS[:1])
    run_claims(toy_week, "cpu", seeds=1, most_seeds=1, folder=tmp_path)
    code.write_text(code.read_text() + "ADDED = 1\n")
    monkeypatch.setenv("TOY_STEPS", "6")
    row = run_claims(toy_week, "cpu", seeds=1, most_seeds=1, folder=tmp_path)[0]
    assert row["state"] == "this" and jobs(tmp_path)["method", 0]["settings"]["steps"] == 6


def test_an_edited_result_is_found_out_by_what_read_it(tmp_path, monkeypatch):
    run(tmp_path, seeds=1, most_seeds=1)
    monkeypatch.setattr(evidence, "folder", lambda: tmp_path.parent)
    tmp_path.rename(tmp_path.parent / "claims")
    before = evidence.digest("claims/toy_week/smoke")
    path = tmp_path.parent / "claims/toy_week.json"
    path.write_text(path.read_text().replace("0.9", "0.95"))
    assert evidence.changed_inputs({"claims/toy_week/smoke": before}) == ["claims/toy_week/smoke"]


def test_ctrl_c_leaves_what_is_finished(tmp_path):
    code = "import sys, toy_week, tinyvlm.experiments.claims as c; c.run_claims(toy_week, 'smoke', folder=sys.argv[1])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        env=os.environ | {"TOY_WAIT": "broken 0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob(".toy_week/*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert process.returncode != 0 and "KeyboardInterrupt" in errors
    assert "jobs are kept; the same command goes on" in out
    assert len(jobs(tmp_path)) >= 3 and ("broken", 0) not in jobs(tmp_path)


def test_records_of_a_killed_queue_are_taken_up(tmp_path):
    run(tmp_path, seeds=1, most_seeds=1)
    whole = json.loads((tmp_path / "toy_week.json").read_text())
    job = whole["jobs"].pop()
    modules = whole["codes"][job.pop("code")]["modules"]
    (tmp_path / "toy_week.json").write_text(json.dumps(whole))
    (tmp_path / ".toy_week").mkdir()
    (tmp_path / ".toy_week" / "left.json").write_text(json.dumps(job | {"modules": modules, "seconds": 77.0}))
    run(tmp_path, seeds=1, most_seeds=1)
    assert jobs(tmp_path)[job["arm"], 0]["seconds"] == 77.0


MEET = """
import os, pathlib, sys, time
mine, other = map(pathlib.Path, sys.argv[1:])
mine.touch()
deadline = time.monotonic() + 30
while not other.exists():
    time.sleep(0.01)
    if time.monotonic() > deadline:
        sys.exit("alone")
print(os.environ["OMP_NUM_THREADS"])
"""


def test_jobs_run_side_by_side_with_one_thread_each(tmp_path):
    """Each of two jobs waits for the other's sign."""
    signs = [str(tmp_path / "a"), str(tmp_path / "b")]
    jobs = [Job("job", (sys.executable, "-c", MEET, *order)) for order in (signs, signs[::-1])]
    assert run_jobs(jobs, 2) == [] and [list(job.lines) for job in jobs] == [["1"], ["1"]]


def test_progress_of_a_job_is_read_and_is_no_output():
    code = f"print('{Job.MARK} 3 4'); print('words'); import sys; sys.exit(3)"
    job = Job("job", (sys.executable, "-c", code))
    assert run_jobs([job]) == ["job: exit code 3, words"] and job.share == 0.75


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda folder: run_claims(toy_week, "huge", folder=folder), "choose one of smoke, cpu, gpu"),
        (lambda folder: run_claims(77, "smoke", folder=folder), "Week 77 has no experiments: those with some are week"),
        (
            lambda folder: run_claims(toy_week, "smoke", seeds=4, most_seeds=3, folder=folder),
            "1 <= seeds <= most_seeds",
        ),
        (lambda folder: run_claims(toy_week, "smoke", jobs=0, folder=folder), "jobs=0"),
    ],
)
def test_bad_input_is_named(call, words, tmp_path):
    with pytest.raises(ValueError) as error:
        call(tmp_path)
    assert words in str(error.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["{", '{"arm": "method"}'])
def test_a_damaged_result_is_named(text, tmp_path):
    (tmp_path / "toy_week.json").write_text(text)
    with pytest.raises(ValueError, match=r"toy_week\.json .*or delete it and run `course claims` again"):
        claim_results(toy_week, tmp_path, "smoke")
    (tmp_path / "toy_week.json").unlink()
    (tmp_path / ".toy_week").mkdir()
    (tmp_path / ".toy_week/a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json .*delete it and run `course claims` again"):
        run(tmp_path)


def test_a_job_of_an_unknown_arm_is_named():
    command = [sys.executable, "-m", "tinyvlm.experiments.claims"]
    done = subprocess.run([*command, "toy_week", "nobody", "0", "smoke", "x.json"], capture_output=True, text=True)
    assert done.returncode != 0 and "choose one of method, baseline, broken" in done.stderr
    assert "usage" in subprocess.run(command, capture_output=True, text=True).stderr


def test_results_lie_with_the_package_by_default(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "folder", lambda: tmp_path)
    monkeypatch.setattr(toy_week, "CLAIMS", toy_week.CLAIMS[:1])
    run_claims(toy_week, "smoke", seeds=1, most_seeds=1)
    assert len(jobs(tmp_path / "claims")) == 2
