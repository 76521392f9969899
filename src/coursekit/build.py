"""Builds the site: Jupyter Book with warnings as errors, then the search index; a complete site or none."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from coursekit.consistency import problems
from coursekit.load import load_course
from coursekit.receipts import proofs

Say = Callable[[str], None]

_PERCENT = re.compile(r"(reading sources|writing output|copying images)\.\.\. \[ *(\d+)%\]")
_REASON = re.compile(r"(WARNING|ERROR|CRITICAL): |(Error|Exception): |course\.yml:")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

FRONT_DOOR = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="refresh" content="0; url=book/index.html"><link rel="icon" href="_static/favicon.svg"></head>
<body><main><p><a href="book/index.html">{title}</a></p></main></body></html>
"""


class BuildError(RuntimeError):
    """The site was not built; an older one, if any, still stands."""


def build_site(root: Path, output: Path | None = None, *, publish: bool = False, say: Say = print) -> Path:
    """Builds the site of the repository at `root` into `output` (default `_build/html`) and returns that folder.

    The new site replaces the old one only when every step passed. `publish` also refuses receipts of other code.
    `say` gets a line at every step. Raises `CourseError` or `BuildError`.
    """
    started = time.monotonic()
    course = load_course(root)
    if found := problems(root, course):
        raise BuildError("\n".join(found))
    if publish:
        refuse_changed(root, say)
    output = (output or root / "_build" / "html").resolve()
    stage = output.parent / f".{output.name}.new"
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    try:
        say("1/3 pages")
        html = _run_jupyter_book(root, stage, say)
        say("2/3 search index")
        _finish_files(html, course.book.title)
        _index_words(html)
        say("3/3 putting the new site in place")
        _swap(html, output)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    say(f"built in {time.monotonic() - started:.0f} s: {output}")
    return output


def refuse_changed(root: Path, say: Say = print) -> None:
    """BuildError when a chapter has no receipt, or one of other code: a site is published with numbers that hold."""
    found = proofs(root, load_course(root))
    bad = [proof for proof in found if proof.state in ("changed", "none")]
    for proof in found:
        say(f"week {proof.week.week}: {proof.label}")
    if bad:
        lines = [
            f"Week {p.week.week} cannot be published: it has no receipt; run `make week N={p.week.week}`."
            if p.state == "none"
            else f"Week {p.week.week} cannot be published: since its run {p.names} changed; `course verify "
            f"{p.week.week}` says whether the numbers are the same, else run `make week N={p.week.week}`."
            for p in bad
        ]
        raise BuildError("\n".join(lines))


def _run_jupyter_book(root: Path, stage: Path, say: Say) -> Path:
    command = [
        sys.executable,
        "-c",
        "from jupyter_book.cli.main import main; main()",
        "build",
        str(root),
        "--path-output",
        str(stage),
        "-W",
        "-n",
        "--keep-going",
        "--all",
    ]
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", "NO_COLOR": "1"}
    status, lines = follow(command, root, environment, _Percent(say))
    html = stage / "_build" / "html"
    if status != 0 or not (html / "book" / "index.html").is_file():
        told = [line for line in lines if _REASON.search(line)] or lines[-30:]
        raise BuildError("The pages could not be built; nothing was replaced.\n" + "\n".join(told))
    return html


class _Percent:
    """Passes on Sphinx's percentages, a line a quarter."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._shown = ("", -1)

    def __call__(self, line: str) -> None:
        if match := _PERCENT.search(line):
            quarter = (match[1], int(match[2]) // 25)
            if quarter != self._shown:
                self._shown = quarter
                self._say(f"    {match[1]} {match[2]} %")


def follow(
    command: list[str], folder: Path, environment: dict[str, str], hear: Callable[[str], None]
) -> tuple[int, list[str]]:
    """Runs a command in `folder`, hands on its lines as they come; returns exit status and all lines.

    It ends when the command ends, and takes with it whatever the command started: a helper that outlives it would
    keep the pipe open for ever.
    """
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=os.name == "posix",
    )
    lines: list[str] = []

    def read() -> None:
        for raw in process.stdout or ():
            lines.append(_COLOUR.sub("", raw.replace("\r", "\n")).strip())
            hear(lines[-1])

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        status = process.wait()
    finally:
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    reader.join(timeout=10)
    return status, lines


def _finish_files(html: Path, title: str) -> None:
    """A front door that browsers and readers understand, and no icon script where the icon fonts suffice."""
    (html / "index.html").write_text(FRONT_DOOR.format(title=title), encoding="utf-8")
    (html / ".nojekyll").touch()  # folders that start with an underscore are part of this site
    (html / "_static" / "scripts" / "fontawesome.js").write_text("/* icons come from the web fonts */\n")
    shutil.rmtree(html / "reports", ignore_errors=True)


def _index_words(html: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pagefind",
        "--site",
        str(html),
        "--glob",
        "{book,notebooks}/**/*.html",
        "--root-selector",
        "article.bd-article",
        "--force-language",
        "en",
        "--exclude-selectors",
        ".headerlink, .talk-note, annotation, script, style",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0 or not (html / "pagefind" / "pagefind.js").is_file():
        raise BuildError(f"The search index could not be made; nothing was replaced.\n{done.stdout}{done.stderr}")
    for path in (html / "pagefind").glob("pagefind-*ui.*"):
        path.unlink()  # the site's own page shows the results


def _swap(new: Path, output: Path) -> None:
    old = output.parent / f".{output.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if output.exists():
        output.rename(old)
    new.rename(output)
    shutil.rmtree(old, ignore_errors=True)
