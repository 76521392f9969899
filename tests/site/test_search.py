"""The search box finds English and Korean words, by their beginnings, and asks nobody else."""

import re
import threading

import pytest

from coursekit.serve import make_server

PAGE = re.compile(r"/(book|notebooks)/[^?]*\.html")


def results(window):
    window.page.wait_for_function("document.getElementById('search-status').textContent.match(/page/)")
    return window.page.locator("#search-found a").evaluate_all("links => links.map(link => link.getAttribute('href'))")


@pytest.mark.parametrize(("words", "page"), [
    ("contrastive", "book/syllabus"),
    ("벤치마크", "week01"),  # the page writes 벤치마크와, with a particle
    ("배경", "book/data"),  # 배경은, 배경을
    ("김희은", "week03"),
    ("초록", "book/data"),
])  # fmt: skip
def test_finds(visit, words, page):
    window = visit()
    window.go(f"search.html?q={words}")
    assert any(page in link for link in results(window))
    assert not window.errors and not window.strangers


def test_search_box_of_a_page_leads_to_the_results(visit):
    window = visit().go("book/syllabus.html")
    box = window.page.locator("#sidebar-search")
    box.fill("Flamingo")
    box.press("Enter")
    window.page.wait_for_url(re.compile(r"search\.html\?q=Flamingo"))
    links = results(window)
    assert any("week11" in link for link in links)
    window.page.locator("#search-found a").first.click()
    window.page.wait_for_url(PAGE)
    assert window.page.locator("article h1").count() == 1


def test_nothing_found_is_said_in_words(visit):
    window = visit()
    window.go("search.html?q=qqqqzzzz")
    assert results(window) == []
    assert "No page with" in window.page.locator("#search-status").inner_text()


def test_words_of_the_query_are_never_taken_for_markup(visit):
    window = visit()
    window.go("search.html?q=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
    results(window)
    assert window.page.locator("#search-status img, #search-found img").count() == 0
    assert not window.errors


def test_results_lead_to_pages_wherever_the_site_lies(site, tmp_path, visit):
    """On GitHub Pages the site lies in a folder named after the repository."""
    (tmp_path / "vlm-course").symlink_to(site.resolve(), target_is_directory=True)
    (tmp_path / "index.html").write_text("the host's own page")
    server = make_server(tmp_path, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        window = visit()
        window.address = f"http://127.0.0.1:{server.server_port}/vlm-course/"
        window.go("search.html?q=Flamingo")
        assert all(link.startswith("/vlm-course/") for link in results(window))
        window.page.locator("#search-found a").first.click()
        window.page.wait_for_url(PAGE)
        assert window.page.locator("article h1").count() == 1 and not window.errors
    finally:
        server.shutdown()
        server.server_close()
