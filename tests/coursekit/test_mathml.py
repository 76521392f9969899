"""KaTeX as a child process: it may be slow, it may die, and none of it depends on chance."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sphinx.errors import ExtensionError

from coursekit.sphinx_ext.mathml import Renderer, command, letter, mend_variants

LATE = "import os, sys, time; time.sleep(1.5); os.execv(sys.argv[1], sys.argv[1:])"
# Answers in pieces, as a child does that is interrupted in the middle of a line.
HESITANT = """
import sys, time
for line in sys.stdin:
    for piece in ('{"html"', ': "<math>', '</math>"}\\n'):
        time.sleep(0.3)
        print(piece, end="", flush=True)
"""


@pytest.fixture
def renderer() -> Iterator[Renderer]:
    made = Renderer(command())
    yield made
    made.close()


@pytest.mark.parametrize(("character", "variant", "expected"), [
    ("E", "double-struck", "𝔼"), ("R", "double-struck", "ℝ"), ("L", "script", "ℒ"), ("N", "script", "𝒩"),
    ("x", "bold", "𝐱"), ("1", "bold", "𝟏"), ("α", "bold", "𝛂"), ("θ", "bold-italic", "𝜽"), ("I", "fraktur", "ℑ"),
    ("h", "italic", "ℎ"), ("+", "bold", "+"), ("x", "normal", "x"), ("한", "bold", "한"),
])  # fmt: skip
def test_letters_in_mathematical_styles(character, variant, expected):
    assert letter(character, variant) == expected


def test_only_styles_that_browsers_do_not_know_are_replaced():
    text = '<mi mathvariant="double-struck">E</mi><mi mathvariant="normal">d</mi><mn mathvariant="bold">10</mn>'
    assert mend_variants(text) == '<mi>𝔼</mi><mi mathvariant="normal">d</mi><mn>𝟏𝟎</mn>'


def test_a_formula_is_mathml_alone(renderer):
    inline, block = renderer.render(r"\mathbb{E}[x]"), renderer.render("x^2", {"displayMode": True})
    assert inline.startswith('<span class="katex"><math ') and "<mi>𝔼</mi>" in inline and "katex-html" not in inline
    assert 'display="block"' in block and 'display="block"' not in inline and "<msup>" in block


def test_a_formula_of_several_lines_and_scripts_is_one_request(renderer):
    html = renderer.render("% note\u2028\n\\begin{aligned} a &= \\text{한글} \\\\\n b &= \\text{é} \\end{aligned}\r\n")
    assert "한글" in html and "é" in html and html.count("<mtr>") == 2
    assert "<mi>x</mi>" in renderer.render("x"), "the next answer belongs to the next formula"


def test_an_unreadable_formula_is_named_and_the_next_one_is_read(renderer):
    with pytest.raises(ExtensionError, match=r"KaTeX cannot read the formula '\\\\frac\{1': .*Unexpected end of input"):
        renderer.render(" \\frac{1 ")
    with pytest.raises(ExtensionError) as caught:
        renderer.render("a\n\\begin{aligned} b \\\\\n c")
    assert "\n" not in str(caught.value)
    assert "<mi>x</mi>" in renderer.render("x")


def test_a_child_that_starts_late_is_waited_for():
    began = time.monotonic()
    renderer = Renderer([sys.executable, "-c", LATE, *command()])
    try:
        assert "<mi>x</mi>" in renderer.render("x") and time.monotonic() - began > 1.5
    finally:
        assert renderer.close() == 0


def test_a_child_that_answers_in_pieces_is_heard_out():
    renderer = Renderer([sys.executable, "-c", HESITANT])
    try:
        assert [renderer.render(latex) for latex in "ab"] == ["<math></math>"] * 2
    finally:
        renderer.close()


@pytest.mark.parametrize("death", [
    "sys.exit(3)", "sys.stdin.readline(); sys.exit(3)", "sys.stdin.readline(); print('{\"html', end=''); sys.exit(3)",
], ids=["at the start", "after the question", "in its answer"])  # fmt: skip
def test_a_child_that_dies_is_told_in_one_sentence(death):
    renderer = Renderer([sys.executable, "-c", f"import sys; {death}"])
    with pytest.raises(ExtensionError, match="status 3 and no answer for the formula 'x\\^2': install") as caught:
        renderer.render("x^2")
    assert "\n" not in str(caught.value) and caught.value.__cause__ is None


def test_no_child_is_left_when_its_parent_is_killed():
    script = (
        "import os; from coursekit.sphinx_ext.mathml import Renderer, command; r = Renderer(command()); r.render('x');"
        "print(r._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    child = int(done.stdout)
    for _ in range(600):
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(child)], capture_output=True, text=True).stdout
        if state.strip()[:1] in ("", "Z"):
            return
        time.sleep(0.05)
    pytest.fail(f"node {child} still runs half a minute after its parent was killed")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_asks_a_child_of_its_own(renderer):
    renderer.render("x")
    before = renderer._process.pid
    pid = os.fork()
    if pid == 0:
        try:
            right = "<mi>y</mi>" in renderer.render("y") and renderer._process.pid != before
            renderer.close()
        except BaseException:
            right = False
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert "<mi>z</mi>" in renderer.render("z") and renderer._process.pid == before


@pytest.mark.slow
def test_two_hundred_starts_are_two_hundred_right_answers():
    def start(number: int) -> bool:
        renderer = Renderer(command())
        try:
            return f"<mn>{number}</mn>" in renderer.render(f"x + {number}")
        finally:
            assert renderer.close() == 0

    with ThreadPoolExecutor(4) as pool:  # more than there are cores: a busy machine
        assert all(pool.map(start, range(200)))
