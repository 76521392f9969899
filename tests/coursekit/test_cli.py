"""The command line: what a user reads, and the exit status."""

import json
import os
import subprocess
import sys

import pytest

from coursekit import cli, verify
from tests.coursekit.conftest import RECEIPT
from tinyvlm.training.fingerprint import notebook_code


@pytest.fixture
def course_command(repo, monkeypatch, capsys):
    """Runs `course ARGS` in the little repository: (exit status, output, error output)."""

    def run(*arguments):
        monkeypatch.chdir(repo)
        monkeypatch.setattr(sys, "argv", ["course", *map(str, arguments)])
        try:
            cli.main()
            status = 0
        except SystemExit as end:
            status = end.code or 0
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_list_shows_every_week(course_command):
    status, out, _ = course_command("list")
    assert status == 0
    assert "Flamingo" in out and "조성국" in out and "week03_clip.ipynb" in out and out.count("not written yet") == 13


@pytest.mark.parametrize(("arguments", "message"), [
    (("run", 15), "There is no week 15: the course has weeks 1 to 14."),
    (("check", 0), "There is no week 0: the course has weeks 1 to 14."),
    (("claims", 99), "There is no week 99: the course has weeks 1 to 14."),
    (("run", 2), "Week 2 has no chapter to run yet"),
    (("run", 3, "--preset", "fast"), "Unknown preset 'fast': choose one of smoke, cpu, gpu."),
    (("claims", 3, "--preset", "fast"), "Unknown preset 'fast': choose one of smoke, cpu, gpu."),
    (("run", 3, "--size", "huge"), "unknown size 'huge'"),
    (("new", 3), "Week 3 has its chapter, notebooks/week03_clip.ipynb"),
    (("new", 6, "--name", "Bad Name"), "'Bad Name' names no module: give small letters"),
    (("new", 6), "src/tinyvlm/models/__init__.py is missing"),
    (("fork", "https://github.com/else/where", "--branch", "a b"), "'a b' is not a branch: write letters"),
    (("serve", "--port", 0), "build it first with `make site`"),
    (("fork", "https://example.org/x"), "is not a repository: write https://github.com/OWNER/NAME"),
])  # fmt: skip
def test_mistakes_end_in_one_sentence_and_status_1(course_command, arguments, message):
    status, _, err = course_command(*arguments)
    assert status == 1 and message in err
    assert "Traceback" not in err and len(err.strip().splitlines()) == 1


def test_run_writes_and_says_what(course_command, repo, monkeypatch):
    monkeypatch.setattr(verify, "added", lambda root, week, preset, progress: {"smoke": preset, "commit": ""})
    status, out, _ = course_command("run", 3, "--preset", "cpu")
    assert status == 0
    assert "[ 2/3] cell-1" in out and "Written: notebooks/week03_clip.ipynb and notebooks/receipts/week03.json." in out
    kept = json.loads((repo / "notebooks/receipts/week03.json").read_text())
    assert kept["week"] == 3 and kept["smoke"] == "cpu" and "commit first, and the receipt can name its commit" in out


def test_why_names_what_changed_and_ends_in_status_1(course_command, repo):
    assert "Week 3 has no receipt" in course_command("why", 3)[2]
    path, notebook = repo / "notebooks/receipts/week03.json", repo / "notebooks/week03_clip.ipynb"
    path.parent.mkdir()
    path.write_text(json.dumps(RECEIPT | {"code": notebook_code(notebook)}))
    assert course_command("why", 3)[:2] == (0, "Nothing has changed since the run of week 3.\n")
    path.write_text(json.dumps(RECEIPT))
    assert course_command("why", 3)[:2] == (1, "models.clip\nnotebook\n")


def test_verify_says_what_differs_and_ends_in_status_1(course_command, monkeypatch):
    found = verify.Verified(["loss 1 of training 1 was 2 and is 3"], 0)
    monkeypatch.setattr(verify, "verify", lambda root, week, progress: found)
    status, out, _ = course_command("verify")
    assert status == 1 and "not the same numbers; nothing was changed.\n    loss 1 of training 1 was 2 and is 3" in out
    monkeypatch.setattr(verify, "verify", lambda root, week, progress: verify.Verified([], 4))
    assert course_command("verify", 3)[:2] == (0, "Week 3: the same numbers; receipt and 4 claim jobs hold.\n")


def test_smoke_run_says_that_nothing_was_written(course_command, repo):
    status, out, _ = course_command("run", 3, "--preset", "smoke")
    assert status == 0 and "nothing was written" in out and not (repo / "notebooks/receipts").exists()


def test_check_lists_what_fails_and_ends_in_status_1(course_command):
    status, out, err = course_command("check", 3, "--no-smoke")
    assert status == 1 and "fails  every cell was run, in order" in out and "ok     the notebook is valid" in out
    assert "Week 3 is not ready" in err


def test_wrong_course_file_stops_every_command_and_makes_nothing(course_command, repo):
    path = repo / "course.yml"
    path.write_text(path.read_text(encoding="utf-8").replace("short: ViT", "shrt: ViT"), encoding="utf-8")
    before = {path for path in repo.rglob("*")}
    for command in (("list",), ("run", 3), ("check", 3), ("build",), ("serve",), ("claims", 3)):
        status, out, err = course_command(*command)
        assert status == 1 and out == "" and "course.yml:" in err and "shrt: unknown key" in err
    assert {path for path in repo.rglob("*")} == before


def test_outside_a_course_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["course", "list"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1 and "No course.yml in" in capsys.readouterr().err


def test_the_installed_command_starts_quickly_and_without_torch(repo):
    code = "import sys, coursekit.cli; sys.exit('torch' in sys.modules or 'sphinx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=repo, env=os.environ | {"PYTHONWARNINGS": "ignore"})
    assert done.returncode == 0
