"""Every page of the site, as a reader meets it: loads alone, fits, is readable in light and dark, and is accessible."""

import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from axe_playwright_python.sync_playwright import Axe

from coursekit.load import load_course

ROOT = Path(__file__).parents[2]
# Pictures further down load only when they come near; one that cannot be shown rejects.
SHOW_ALL_PICTURES = "Promise.all([...document.images].map(one => { one.loading = 'eager'; return one.decode(); }))"
# Colours are judged when nothing fades in any more.
UNFOLD = """() => {
  for (const one of document.querySelectorAll("article details")) one.open = true;
  return Promise.all(document.getAnimations().map(one => one.finished));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_every_page_loads_alone_without_errors_and_fits(visit, pages, width, scheme):
    window = visit(width, scheme)
    wrong = {}
    for page in pages:
        window.strangers.clear()
        window.errors.clear()
        window.go(page)
        window.page.evaluate(SHOW_ALL_PICTURES)
        heading = window.page.locator("article h1").all_inner_texts()
        beyond = window.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        theme = window.page.evaluate("document.documentElement.dataset.theme")
        found = {"strangers": window.strangers[:], "errors": window.errors[:], "too wide by": max(0, beyond)}
        if any(found.values()) or len(heading) != 1 or theme != scheme:
            wrong[page] = found | {"headings": heading, "theme": theme}
    assert not wrong


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_accessibility_violations(visit, pages, scheme):
    window = visit(1280, scheme)
    axe = Axe()
    wrong = {}
    for page in [*pages, "search.html?q=CLIP"]:
        window.go(page)
        window.page.evaluate(UNFOLD)
        found = axe.run(window.page).response["violations"]
        serious = {
            one["id"]: [node["html"][:160] for node in one["nodes"][:3]]
            for one in found if one["impact"] in ("serious", "critical")
        }  # fmt: skip
        if serious:
            wrong[page] = serious
    assert not wrong, json.dumps(wrong, indent=1)


def test_no_serious_accessibility_violations_on_a_phone(visit, pages):
    window = visit(375, "light")
    wrong = {}
    for page in pages[:4]:
        window.go(page)
        found = Axe().run(window.page).response["violations"]
        if serious := [one["id"] for one in found if one["impact"] in ("serious", "critical")]:
            wrong[page] = serious
    assert not wrong


def test_every_local_link_and_picture_exists(site, pages):
    missing = set()
    for page in pages:
        here = site / page
        html = here.read_text(encoding="utf-8")
        for target in re.findall(r'(?:href|src)="([^"]+)"', html):
            if re.match(r"(https?|mailto|data):|#", target):
                continue
            path = unquote(re.split(r"[?#]", target)[0])
            if path and not (here.parent / path).resolve().exists():
                missing.add((page, target))
    assert not missing


def test_every_picture_says_what_it_shows(site, pages):
    silent = set()
    for page in pages:
        for tag in re.findall(r"<img [^>]*>", (site / page).read_text(encoding="utf-8")):
            alt = re.search(r'alt="([^"]*)"', tag)
            if alt is None or len(alt[1]) < 10 or re.search(r"\.(png|svg|webp)$", alt[1]):
                silent.add((page, tag[:120]))
    assert not silent


def test_front_door_leads_to_the_index(visit):
    window = visit()
    window.go("")
    window.page.wait_for_url("**/book/index.html")
    assert not window.errors


def test_red_thread_follows_the_first_screen_and_the_weeks(visit):
    window = visit().go("book/index.html")
    heads = window.page.locator("article h2").all_inner_texts()
    assert [head.strip("# ") for head in heads][:2] == ["The fourteen weeks", "What each model understands"]
    table = window.page.locator("article section").filter(has_text="What each model understands").locator("table")
    assert table.first.locator("tbody tr").count() >= 3


def test_red_thread_shows_all_its_columns_without_scrolling(visit):
    """The last two, the swaps, are what the table is for."""
    window = visit().go("book/index.html")
    scroll = window.page.locator(".table-scroll:has(.red-thread)")
    assert scroll.evaluate("node => node.scrollWidth <= node.clientWidth + 1")


def test_every_week_stands_on_index_and_syllabus_with_title_and_speaker(site):
    course = load_course(ROOT)
    index, syllabus = ((site / f"book/{name}.html").read_text(encoding="utf-8") for name in ("index", "syllabus"))
    for week in course.weeks:
        assert week.short in index
        assert week.title in syllabus and week.speaker.name in syllabus


def test_weeks_without_a_chapter_say_so_and_show_paper_and_talk(site):
    for week in load_course(ROOT).weeks:
        html = (site / f"{week.page}.html").read_text(encoding="utf-8")
        assert ("chapter is not written yet" in html) == (week.notebook is None)
        assert (week.paper or week.reading).arxiv in html
        assert all(talk.url in html for talk in week.talks)
