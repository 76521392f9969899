"""Building: the old site stays until the new one is complete, and only publishing refuses receipts of other code."""

import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest

from coursekit import build
from coursekit.build import BuildError, build_site, follow, refuse_changed
from coursekit.receipts import Proof
from coursekit.serve import make_server
from tinyvlm.training.receipts import Standing


@pytest.fixture
def old_site(repo):
    folder = repo / "_build" / "html"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text("old")
    return folder


def runs(pid):
    """Whether the process still runs; one that ended and that nobody has asked for yet does not."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return done.stdout.strip()[:1] not in ("", "Z")


def hush(_):
    """Says nothing."""


@pytest.mark.parametrize("step", ["_run_jupyter_book", "_index_words"])
def test_a_failing_step_leaves_the_old_site_and_no_litter(repo, old_site, monkeypatch, step):
    def pages(root, stage, say):
        html = stage / "html"
        (html / "_static" / "scripts").mkdir(parents=True)
        return html

    def fail(*_):
        raise BuildError("could not be made")

    monkeypatch.setattr(build, "_run_jupyter_book", pages)
    monkeypatch.setattr(build, step, fail)
    with pytest.raises(BuildError, match="could not be made"):
        build_site(repo, say=hush)
    assert (old_site / "index.html").read_text() == "old"
    assert [path.name for path in old_site.parent.iterdir()] == ["html"]


def test_a_complete_build_replaces_the_old_site(repo, old_site, monkeypatch):
    def pages(root, stage, say):
        html = stage / "html"
        (html / "_static" / "scripts").mkdir(parents=True)
        (html / "new.html").write_text("new")
        return html

    monkeypatch.setattr(build, "_run_jupyter_book", pages)
    monkeypatch.setattr(build, "_index_words", hush)
    said = []
    assert build_site(repo, say=said.append) == old_site.resolve()
    assert (old_site / "new.html").is_file() and "book/index.html" in (old_site / "index.html").read_text()
    assert [path.name for path in old_site.parent.iterdir()] == ["html"] and said[-1].startswith("built in ")


def test_disagreement_stops_the_build_before_anything_is_made(repo, monkeypatch):
    (repo / "notebooks/week03_clip.ipynb").unlink()
    monkeypatch.setattr(build, "_run_jupyter_book", lambda *_: pytest.fail("was started"))
    with pytest.raises(BuildError, match="is named but does not exist"):
        build_site(repo, say=hush)
    assert not (repo / "_build").exists()


@pytest.mark.parametrize(("state", "words"), [
    ("this", ""), ("verified", ""), ("none", "it has no receipt; run `make week N=3`"),
    ("changed", "since its run models.clip, notebook changed; `course verify 3` says"),
])  # fmt: skip
def test_publishing_refuses_missing_receipts_and_those_of_other_code(repo, course, monkeypatch, state, words):
    stand = Standing(state, ("models.clip", "notebook") if state == "changed" else ())
    monkeypatch.setattr(build, "proofs", lambda *_: [Proof(course.week(3), stand, {})])
    if not words:
        assert refuse_changed(repo, hush) is None
    else:
        with pytest.raises(BuildError) as error:
            refuse_changed(repo, hush)
        assert f"Week 3 cannot be published: {words}" in str(error.value)


def test_a_helper_that_outlives_its_command_does_not_hold_up_the_build(tmp_path):
    # The helper inherits the pipe and would sleep a minute.
    helper = "import subprocess, sys; print('hello', flush=True); p = subprocess.Popen(['sleep', '60']); print(p.pid)"
    heard, began = [], time.monotonic()
    status, lines = follow([sys.executable, "-c", helper], tmp_path, dict(os.environ), heard.append)
    assert status == 0 and lines[0] == "hello" and heard == lines
    assert time.monotonic() - began < 30
    while runs(int(lines[1])):
        assert time.monotonic() - began < 30
        time.sleep(0.05)


def test_a_failing_command_gives_its_status_and_its_last_words(tmp_path):
    status, lines = follow([sys.executable, "-c", "import sys; sys.exit('no such page')"], tmp_path, dict(os.environ),
                           hush)  # fmt: skip
    assert status == 1 and lines == ["no such page"]


def test_the_reasons_of_a_failed_build_are_told_without_its_traceback(repo, monkeypatch):
    lines = [
        "book/data.md:10: WARNING: cross-reference target not found", "Traceback (most recent call last):",
        'raise ExtensionError(f"KaTeX cannot read the formula")', "sphinx.errors.ExtensionError: KaTeX cannot read 'x'",
        "The above exception was the direct cause of the following exception:", "RuntimeError:", "Look above.",
    ]  # fmt: skip
    monkeypatch.setattr(build, "follow", lambda *_: (1, lines))
    with pytest.raises(BuildError) as caught:
        build_site(repo, say=hush)
    assert str(caught.value).splitlines()[1:] == [lines[0], lines[3]]


def test_a_server_that_is_busy_lets_many_wait(old_site):
    with make_server(old_site, 0) as server, ExitStack() as opened:
        # Nobody accepts them yet.
        clients = [opened.enter_context(socket.create_connection(server.server_address, timeout=10)) for _ in range(60)]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        opened.callback(server.shutdown)
        for client in clients:
            client.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
            assert client.makefile("rb").read().endswith(b"old")


def test_serving_needs_a_site_and_a_free_port(old_site, tmp_path):
    with pytest.raises(FileNotFoundError, match="build it first"):
        make_server(tmp_path / "nothing", 0)
    server = make_server(old_site, 0)
    try:
        with pytest.raises(OSError, match="cannot be used"):
            make_server(old_site, server.server_port)
    finally:
        server.server_close()
