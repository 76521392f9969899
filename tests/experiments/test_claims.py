"""Claims: intervals and verdicts, and the queue of jobs, with real processes of a toy week."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import toy_week

from tinyvlm.experiments.claims import Claim, arm_results, claim_results, interval, run_claims, verdict
from tinyvlm.experiments.queue import Job, run_jobs

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def jobs_find_the_toy(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE))


def run(folder, **options):
    return {row["id"]: row for row in run_claims(toy_week, "smoke", folder=folder, **options)}


def files(folder):
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(folder.glob("*"))}


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
        ([0.5], 0.0, "undecided"),
        ([], 0.0, "undecided"),
    ],
)
def test_verdicts(differences, margin, expected):
    assert verdict(differences, margin) == expected


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
    assert better["verdict"] == "held" and better["seeds"] == [0, 1, 2] and better["state"] == "fresh"
    assert better["per_seed"] == {"method": [0.9, 0.91, 0.9], "baseline": [0.5, 0.5, 0.5]}
    assert better["difference"] == pytest.approx([0.4, 0.41, 0.4]) and better["interval"][0] > 0.38
    assert worse["verdict"] == "not held at this scale" and worse["kind"] == "direction" and worse["margin"] == 1.0
    assert worse["per_seed"]["broken"] == pytest.approx([40, 40, 41])
    assert json.loads(json.dumps(rows)) == rows
    before = files(tmp_path)
    assert len(before) == 9 and "smoke-method-seed0-" in "".join(before)
    assert "method, seed 0 done" in capfd.readouterr().out
    assert run(tmp_path) == rows and files(tmp_path) == before
    assert {row["id"]: row for row in claim_results(toy_week, tmp_path, "smoke")} == rows
    assert arm_results(toy_week, tmp_path, "smoke")["broken"][2]["metrics"] == {"score": 0.41}
    assert all(row["seeds"] == [] and row["verdict"] == "undecided" for row in claim_results(toy_week, tmp_path, "cpu"))


def test_an_undecided_headline_gets_two_more_seeds_in_its_arms_only(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("TOY_METHOD", "shaky")
    rows = run(tmp_path)
    assert rows["better"]["seeds"] == [0, 1, 2, 3, 4] and rows["worse"]["seeds"] == [0, 1, 2]
    assert "Undecided after 3 seeds: better" in capfd.readouterr().out
    assert len(files(tmp_path)) == 3 + 5 + 5


def test_a_failed_job_is_told_and_the_others_go_on(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("TOY_FAIL", "method 1")
    with pytest.raises(RuntimeError) as error:
        run(tmp_path, seeds=2, most_seeds=2)
    assert "1 of the jobs failed (method, seed 1: exit code 1, ArithmeticError: the towers fell)" in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert "ArithmeticError: the towers fell" in capfd.readouterr().out
    assert len(files(tmp_path)) == 5
    rows = {row["id"]: row for row in claim_results(toy_week, tmp_path, "smoke")}
    assert rows["better"]["seeds"] == [0] and rows["better"]["interval"] is None
    monkeypatch.delenv("TOY_FAIL")
    kept = files(tmp_path)
    assert run(tmp_path, seeds=2, most_seeds=2)["better"]["seeds"] == [0, 1]
    assert len(files(tmp_path)) == 6 and kept.items() <= files(tmp_path).items()


def aged(folder, **changes):
    """Make every result one of other code."""
    for path in list(folder.glob("*.json")):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"fingerprint": "0" * 64} | changes))
        path.rename(path.with_name(path.name.rpartition("-")[0] + "-000000000000.json"))


def test_results_of_other_code_count_when_the_canary_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(toy_week, "CLAIMS", toy_week.CLAIMS[:1])
    run(tmp_path, seeds=1, most_seeds=1)
    aged(tmp_path)
    before = files(tmp_path)
    assert claim_results(toy_week, tmp_path, "smoke")[0]["state"] == "equivalent"
    run(tmp_path, seeds=1, most_seeds=1)
    assert files(tmp_path) == before
    # What an arm spends was edited: the canary, which trains another budget, cannot know.
    monkeypatch.setattr(toy_week, "settings", lambda arm, preset: {"steps": 7}, raising=False)
    assert claim_results(toy_week, tmp_path, "smoke")[0]["state"] == "stale"
    monkeypatch.delattr(toy_week, "settings")
    monkeypatch.setenv("TOY_CANARY", "1.001")
    assert claim_results(toy_week, tmp_path, "smoke")[0]["state"] == "stale"
    assert run(tmp_path, seeds=1, most_seeds=1)["better"]["state"] == "fresh"
    assert len(files(tmp_path)) == 4


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
    while len(list(tmp_path.glob("*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert process.returncode != 0 and "KeyboardInterrupt" in errors
    assert "jobs are kept; the same command goes on" in out
    names = {path.name.partition("-seed")[0] + path.name[-18:-17] for path in tmp_path.glob("*.json")}
    assert len(list(tmp_path.glob("*.json"))) >= 3 and not any("broken0" in name for name in names)
    assert all(json.loads(path.read_text())["metrics"] for path in tmp_path.glob("*.json"))


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
    (tmp_path / "smoke-method-seed0-abc.json").write_text(text)
    with pytest.raises(ValueError, match=r"seed0-abc\.json .*delete it and run `course claims` again"):
        claim_results(toy_week, tmp_path, "smoke")


def test_a_job_of_an_unknown_arm_is_named():
    command = [sys.executable, "-m", "tinyvlm.experiments.claims"]
    done = subprocess.run([*command, "toy_week", "nobody", "0", "smoke", "x.json"], capture_output=True, text=True)
    assert done.returncode != 0 and "choose one of method, baseline, broken" in done.stderr
    assert "usage" in subprocess.run(command, capture_output=True, text=True).stderr


def test_results_lie_in_the_checkout_by_default(tmp_path, monkeypatch):
    (tmp_path / "notebooks" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "notebooks" / "deep")
    monkeypatch.setattr(toy_week, "CLAIMS", toy_week.CLAIMS[:1])
    run_claims(toy_week, "smoke", seeds=1, most_seeds=1)
    assert len(list((tmp_path / "notebooks/receipts/claims/toy_week").iterdir())) == 2
