"""Holds the house rules for prose: Markdown cells of the notebooks, the book's pages, README and CONTRIBUTING.

    python tools/prose.py                              what `make lint` checks: PAGES and the notebooks in CLEAN
    python tools/prose.py notebooks/week02_vit.ipynb   these files

R1 subject, verb, object: nothing fronted. R2 at most 25 words a sentence, one semicolon or colon a paragraph. R3 no
network that meets, asks or is born. R4 a pronoun has its noun in the same sentence. R6 "so" for a result, never
", so that". A machine sees only part of each rule; R5 (the field's term first) and R7 (what a result sentence names)
are left to the reader. `<!-- prose: allow R2 -->` excuses a cell, on a page the next paragraph, from the rules named.

markdown-it-py tells prose from code, tables and formulas. proselint and textstat know no limit per sentence.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.colon_fence import colon_fence_plugin
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", "book/*.md"]
CLEAN = ["notebooks/week0[1-8]_*.ipynb"]  # notebooks that pass

WORDS = 25
FRONTED = {"preposition": 8, "subordinator": 12}  # words before the comma
STANDIN = "\N{WHITE SQUARE}"  # one word, whatever it stands for: formula, code, picture
PROSE_DIRECTIVES = ("note", "tip", "important", "warning", "admonition", "dropdown", "exercise", "solution", "hint")

ABBREVIATIONS = r"e\.g|i\.e|cf|vs|secs?|figs?|eqs?|apps?|chs?|no|nos|pp?|approx|resp|incl|dr|prof|st|ref|refs|tab|ca"
NEVER_ENDS = re.compile(rf"(?:^|[\s(\[“\"'])(?:{ABBREVIATIONS}|[A-Z])\.$", re.IGNORECASE)
ENDS_BEFORE_CAPITAL = re.compile(r"\b(?:et al|etc)\.$")
END = re.compile(r"[.?!]+[)\]\"'”’»]*\s+(?=[\"'“‘«(\[]*[^\Wa-z_]|" + STANDIN + ")")

FIELD = (
    "models?|networks?|towers?|encoders?|decoders?|words?|cnns?|vits?|clip|albef|pixel-bert|heads?|layers?|tokens?|"
    "transformers?|convolutions?|copy|twins?|nouns?|captions?|pictures?|images?|sentences?|vectors?|patch|patches|"
    "maps?|weights?|attention|objectives?|losses|loss|regions?|parts?|streams?|queue|optimisers?"
)
PERSON = (
    "meets?|met|touch(?:es)?|wants?|wanted|hopes?|hoped|hands? over|looks? away|believes?|believed|wonders?|refuses?"
)
ASKED_BY_PEOPLE = r"\b(?:you|we|i|they|one|readers?|questions?|exercises?|is|are|was|were|be|been|being|to|and|or)\b"
SUBJECT = r"(?:the|an?|it|we|you|they|its|their|our|this|these|each|every|no|both|all|some|" + STANDIN + r")\b"
PREPOSITION = (
    "behind|before|after|in|on|at|with|without|from|for|among|between|under|over|by|of|through|during|beside|besides|"
    "across|against|within|unlike|like|given|rather"
)
SUBORDINATOR = "if|when|while|because|although|though|where|wherever|since|once|until|unless|as|whenever|whichever"
VERB = (
    "is|was|are|were|has|have|had|does|did|do|can|cannot|could|will|would|may|might|must|should|makes?|means?|shows?|"
    "says?|gives?|leaves?|keeps?|holds?|follows?|happens?|takes?|needs?|comes?|goes|lets?|saves?|costs?|helps?|works?"
)


class Block(NamedTuple):
    """A paragraph or an item of a list: its first line (from 1), its text with formulas, code and links as words."""

    line: int
    text: str
    label: int  # length of a bold label in front; its colon is no colon of the paragraph


@dataclass(frozen=True)
class Finding:
    """A sentence that breaks a rule. `place` is a notebook's cell id or a page's line."""

    file: str
    place: str
    rule: str
    sentence: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}:{self.place}: {self.rule} {self.sentence!r}: {self.remedy}"


class Pattern(NamedTuple):
    rule: str
    found: re.Pattern[str]
    remedy: str


def _pattern(rule: str, expression: str, remedy: str) -> Pattern:
    return Pattern(rule, re.compile(expression, re.IGNORECASE), remedy)


NO_PERSON = "a network is no person: say what is computed"
PATTERNS = [
    _pattern(
        "R1",
        r"^\W*(what|whether|how)\b(?!.*\?\W*$)(?=.*\b(is|are|was|were|costs?|must)\b)",
        "begin with the subject",
    ),
    _pattern(
        "R1",
        r"^\W*that (?!(is|was)\b)(it|we|you|they|the|an?|\S+s) [^,]*\b(is|was|proves|means|says)\b",
        "begin with the subject",
    ),
    _pattern(
        "R1",
        r"\bonly (so|then|there|here) (do|does|did|is|are|was|were|can|could|will|has|have)\b",
        "put the subject before the verb",
    ),
    _pattern("R3", r"\b(was|were|is|are|be|been) born\b", "say what the architecture has built in"),
    _pattern("R3", r"\btrembl(e|es|ed|ing)\b", "say that it varies at random"),
    _pattern("R3", r"\b(never|not) (meet|met)\b|\bknows? better\b|\blooks? away\b", NO_PERSON),
    _pattern("R3", rf"\b({FIELD})\b,? who\b", NO_PERSON),
    _pattern("R4", r"\bthe one\b.*\bthe other\b|\bthe (former|latter)\b|\bwhich(ever)? of the two\b", "name both"),
    _pattern("R4", rf"^\W*(that|this|these|those) ({VERB})\b", "put a noun after it"),
    _pattern("R4", rf"^\W*({PREPOSITION}) (it|that|this|them|these|those),", "name the noun"),
    _pattern("R4", r"\b(for|to|by|from|of|with|on) who\b", "put a noun before 'who'"),
    _pattern("R4", r"\b(in|of|by|for|from|with|to|on|at) that( alone)?(?=\s*([,.;:!?)]|$))", "put a noun after 'that'"),
    _pattern("R4", r"(?<!and )(?<!or )\bsome(?=\s*([,.;:!?)]|$))", "put a noun after 'some'"),
    _pattern("R4", r"\b(most|some|all|half|much|part|none) of (it|that|this)\b", "name the noun"),
    _pattern("R6", r", so that\b", "'so' for a result; 'so that' without comma for a purpose"),
]
ASKS = re.compile(rf"\b({FIELD})\b(?P<between>(?: [\w'-]+){{0,4}}?) (asks?|asked)\b", re.IGNORECASE)
PERSONIFIED = re.compile(rf"\b({FIELD})\b(?P<between>(?: [\w'-]+){{0,4}}?) ({PERSON})\b", re.IGNORECASE)
BY_PEOPLE = re.compile(ASKED_BY_PEOPLE, re.IGNORECASE)
FRONT = re.compile(
    rf"^[^\w{STANDIN}]*(?P<front>(?:(?P<preposition>{PREPOSITION})|{SUBORDINATOR})\b[^,;:(]*), {SUBJECT}", re.IGNORECASE
)
ALLOW = re.compile(r"<!--\s*prose:\s*allow\s+(?P<rules>R\d(?:\s*,\s*R\d)*)[^>]*-->")
CITATION = re.compile(r"https?://(?:\S*arxiv\.org|doi\.org|\S*openreview|aclanthology)\S*")


def words(text: str) -> int:
    """Words as a reader counts them: what has a letter, a digit or a stand-in between two spaces."""
    return sum(any(c.isalnum() or c == STANDIN for c in part) for part in re.split(r"[\s—–]+", text))


def sentences(text: str) -> list[str]:
    """The text's sentences; abbreviations, initials and decimals end none."""
    parts, start = [], 0
    for match in END.finditer(text):
        head = text[start : match.end()].rstrip()
        bare = re.sub(r"[)\]\"'”’»]+$", "", head)
        if NEVER_ENDS.search(bare) or (ENDS_BEFORE_CAPITAL.search(bare) and not text[match.end()].isupper()):
            continue
        parts.append(head)
        start = match.end()
    return [part for part in (*parts, text[start:].strip()) if words(part)]


def flatten(token: Token) -> tuple[str, int]:
    """An inline token as plain text, and how long its bold label is (0 without one)."""
    text, label, in_link, bold = "", 0, False, False
    for child in token.children or []:
        if child.type == "strong_open":
            bold = not text.strip()
        elif child.type == "strong_close" and bold:
            label, bold = len(text), False
        elif child.type in ("link_open", "link_close"):
            in_link = child.type == "link_open"
        elif child.type in ("softbreak", "hardbreak"):
            text += "_" if in_link else " "
        elif child.type == "text":
            text += re.sub(r"\s+", "_", child.content) if in_link else child.content
        elif child.type.startswith(("code_inline", "math", "image")):
            text += STANDIN
    return text, label


def blocks(markdown: str, first_line: int = 1) -> Iterator[Block | set[str]]:
    """Paragraphs and items in order, without headings, tables, code, formulas, references; what a comment allows."""
    parser = MarkdownIt("commonmark").enable("table")
    parser.use(dollarmath_plugin, double_inline=True).use(deflist_plugin).use(colon_fence_plugin)
    tokens = parser.parse(markdown)
    references = False
    for i, token in enumerate(tokens):
        line = first_line + (token.map[0] if token.map else 0)
        if token.type == "html_block" and (allowed := ALLOW.search(token.content)):
            yield set(re.findall(r"R\d", allowed["rules"]))
        elif token.type in ("fence", "colon_fence"):
            name = re.match(r"\s*\{([\w-]+)\}", token.info)
            if name and name[1] in PROSE_DIRECTIVES:
                yield from blocks(re.sub(r"^:[\w-]+:.*$", "", token.content, flags=re.MULTILINE), line + 1)
        elif token.type == "inline":
            text, label = flatten(token)
            title = tokens[i - 1].type == "heading_open" or (label == len(text) and label > 0)
            if title:
                references = text.strip(" .:").lower() == "references"
            cited = text.count("“") + text.count('"') and CITATION.search(token.content) and token.content[0] in "*_"
            skipped = ("heading_open", "th_open", "td_open", "dt_open")
            if not (title or references or cited or tokens[i - 1].type in skipped):
                yield Block(line, text.strip(), label)


def mostly_hangul(text: str) -> bool:
    letters = [c for c in text if c.isalpha()]
    return 2 * sum("가" <= c <= "힣" for c in letters) > len(letters)


def faults(sentence: str) -> Iterator[tuple[str, str]]:
    """(rule, what to do) for each rule that one sentence breaks."""
    if mostly_hangul(sentence):
        return
    if (count := words(sentence)) > WORDS:
        yield "R2", f"{count} words, at most {WORDS}: split it, one claim each"
    for rule, found, remedy in PATTERNS:
        if found.search(sentence):
            yield rule, remedy
    for expression in (ASKS, PERSONIFIED):
        if any(not BY_PEOPLE.search(match["between"]) for match in expression.finditer(sentence)):
            yield "R3", NO_PERSON
    if front := FRONT.search(sentence):
        kind = "preposition" if front["preposition"] else "subordinator"
        clause = kind == "preposition" and re.search(r"\b(you|we|they|it)\b", front["front"], re.IGNORECASE)
        if words(front["front"]) > FRONTED[kind] and not clause:
            yield "R1", f"more than {FRONTED[kind]} words before the subject: begin with the subject"


def check_block(block: Block) -> Iterator[tuple[str, str, str]]:
    """(rule, sentence, what to do) for a paragraph."""
    for sentence in sentences(block.text):
        yield from ((rule, sentence, remedy) for rule, remedy in faults(sentence))
    rest = block.text[block.label :].removeprefix(":").rstrip(" :")  # a colon at the end introduces what follows
    if block.label and block.text[block.label - 1] == ":" and not rest:
        return
    marks = len(re.findall(r"[;:](?=\s|$|[\"'”’)])", rest))
    if marks > 1 and not mostly_hangul(block.text):
        yield "R2", block.text, f"{marks} semicolons and colons, at most one a paragraph"


def check_markdown(markdown: str, file: str, cell: str | None = None) -> list[Finding]:
    """Findings in a page, or in one cell of a notebook."""
    everywhere = {rule for match in ALLOW.finditer(markdown) for rule in re.findall(r"R\d", match["rules"])}
    allowed: set[str] = set()
    findings = []
    for block in blocks(markdown):
        if isinstance(block, set):
            allowed = block
            continue
        excused = everywhere if cell else allowed
        allowed = set()
        place = cell or str(block.line)
        findings += [Finding(file, place, *found) for found in check_block(block) if found[0] not in excused]
    return findings


def check_file(path: Path, name: str = "") -> list[Finding]:
    """Findings in a notebook or a Markdown page; `name` stands for the file in them."""
    name = name or str(path)
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return check_markdown(text, name)
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
    return [f for cell in cells for f in check_markdown("".join(cell["source"]), name, cell["id"])]


def main(names: list[str]) -> int:
    paths = [Path(name) for name in names] or sorted({p for glob in (*PAGES, *CLEAN) for p in ROOT.glob(glob)})
    findings = [f for path in paths for f in check_file(path, str(path.relative_to(ROOT)) if not names else "")]
    print(*findings, sep="\n", end="\n" if findings else "")
    if findings:
        print(f"{len(findings)} findings. The rules: CONTRIBUTING.md, Writing.", file=sys.stderr)
    return bool(findings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
