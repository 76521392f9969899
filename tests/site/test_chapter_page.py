"""What a chapter's page offers: Colab and download at the notebook's real path, receipt, and talks behind a click."""

import json
import re
from pathlib import Path

import pytest

from coursekit.html import day
from coursekit.load import load_course

ROOT = Path(__file__).parents[2]
COURSE = load_course(ROOT)
CHAPTERS = [week for week in COURSE.weeks if week.notebook]
TALKS = [week for week in COURSE.weeks if week.public_talks]


@pytest.mark.parametrize("week", CHAPTERS, ids=lambda week: f"week{week.week:02d}")
def test_colab_links_lead_to_a_file_of_this_repository(site, week):
    html = (site / f"{week.page}.html").read_text(encoding="utf-8")
    links = re.findall(r'href="https://colab\.research\.google\.com/github/([^/]+/[^/]+)/blob/([^/]+)/([^"]+)"', html)
    assert links, "the page has no Colab link"
    for slug, branch, path in links:
        assert (slug, branch) == (COURSE.slug, COURSE.branch)
        assert (ROOT / path).is_file() and path == week.notebook


@pytest.mark.parametrize("week", CHAPTERS, ids=lambda week: f"week{week.week:02d}")
def test_download_is_the_notebook_itself(visit, week):
    window = visit(accept_downloads=True).go(f"{week.page}.html")
    with window.page.expect_download() as download:
        window.page.get_by_role("link", name="Download the notebook").click()
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert json.loads(text) == json.loads((ROOT / week.notebook).read_text(encoding="utf-8"))


@pytest.mark.parametrize("week", CHAPTERS, ids=lambda week: f"week{week.week:02d}")
def test_tables_that_cells_put_out_are_tables(visit, week):
    window = visit().go(f"{week.page}.html")
    paragraphs = window.page.locator(".cell_output p").all_inner_texts()
    plain = [text for text in paragraphs if "|---" in text.replace(" ", "")]
    assert not plain, "a Markdown table is shown as plain text"
    made = json.loads((ROOT / week.notebook).read_text(encoding="utf-8"))
    outputs = [output for cell in made["cells"] for output in cell.get("outputs", [])]
    if any("|---|" in "".join(output.get("data", {}).get("text/markdown", "")).replace(" ", "") for output in outputs):
        assert window.page.locator(".cell_output table").count() > 0


@pytest.mark.parametrize("week", CHAPTERS, ids=lambda week: f"week{week.week:02d}")
def test_receipt_is_shown_as_it_was_written_or_said_to_be_missing(site, week):
    html = (site / f"{week.page}.html").read_text(encoding="utf-8")
    receipt = ROOT / week.receipt
    assert 'id="proof-of-run"' in html
    if not receipt.is_file():
        assert "Nobody has completed a run of this chapter yet" in html
        return
    data = json.loads(receipt.read_text(encoding="utf-8"))
    assert data["device"] in html and day(data["date"]) in html
    assert all(name in html for name in data["metrics"])


@pytest.mark.parametrize("week", TALKS, ids=lambda week: f"week{week.week:02d}")
def test_talks_ask_nothing_of_anybody_before_the_click(visit, week):
    window = visit().go(f"{week.page}.html")
    window.page.wait_for_load_state("networkidle")
    posters = window.page.locator(".talk-poster")
    assert posters.count() == len(week.public_talks)
    posters.first.hover()
    assert window.page.locator("iframe").count() == 0 and window.strangers == []
    with window.page.expect_event("requestfailed"):  # of the frame: no other host is let through
        posters.first.click()
    frame = window.page.locator("iframe")
    assert frame.count() == 1
    video = week.public_talks[0].video
    assert frame.get_attribute("src") == f"https://www.youtube-nocookie.com/embed/{video}?autoplay=1"
    assert frame.get_attribute("title")
    assert window.strangers and all(url.startswith("https://www.youtube-nocookie.com/") for url in window.strangers)


def test_talks_are_plain_links_without_scripts(visit):
    week = TALKS[0]
    window = visit(java_script_enabled=False).go(f"{week.page}.html")
    assert window.page.locator(".talk-poster:visible").count() == 0
    links = [link.get_attribute("href") for link in window.page.locator(".talk-link a").all()]
    assert links == [talk.url for talk in week.public_talks]


def test_poster_answers_the_keyboard(visit):
    window = visit().go(f"{TALKS[0].page}.html")
    window.page.locator(".talk-poster").first.focus()
    window.page.keyboard.press("Enter")
    assert window.page.locator("iframe.talk-frame").count() == 1
