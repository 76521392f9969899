"""A built site served on this machine, and a browser that reports every request, error and console message."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coursekit.build import build_site
from coursekit.consistency import toc_pages
from coursekit.serve import make_server

ROOT = Path(__file__).parents[2]
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-sync")  # fmt: skip
PATIENCE = 180_000  # milliseconds for the browser to start or a page to answer: a busy machine is no failure
SOURCES = (
    *("course.yml", "_toc.yml", "_config.yml", "book", "notebooks", "src/coursekit", "src/tinyvlm/data"),
    *("src/tinyvlm/models", "src/tinyvlm/viz", "src/tinyvlm/blueprint.py"),  # thumbnails of the models
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


def chromium() -> str | None:
    return next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
                None)  # fmt: skip


def is_fresh(site: Path) -> bool:
    """Whether `site` was built after every file it is made of was last changed."""
    marker = site / "index.html"
    if not marker.is_file():
        return False
    newest = 0.0
    for name in SOURCES:
        for path in [ROOT / name, *(ROOT / name).rglob("*")]:
            if path.is_file() and not {"_generated", "__pycache__"} & set(path.parts):
                newest = max(newest, path.stat().st_mtime)
    return marker.stat().st_mtime > newest


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site: COURSE_SITE, else `_build/html` if nothing changed since, else built here."""
    if given := os.environ.get("COURSE_SITE"):
        return Path(given)
    ready = ROOT / "_build" / "html"
    return ready if is_fresh(ready) else build_site(ROOT, tmp_path_factory.mktemp("site") / "html")


@pytest.fixture(scope="session")
def pages() -> list[str]:
    """Addresses of all pages in `_toc.yml`, relative to the site."""
    return [f"{page}.html" for page in toc_pages(ROOT)]


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    server = make_server(site, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    path = chromium()
    if path is None:
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail("Chromium is not installed; in CI the browser tests have to run: `make deps` installs it.")
        pytest.skip("Chromium is not installed: `make deps` installs it, or names the package.")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS), timeout=PATIENCE)
        yield browser
        browser.close()


class Visit:
    """A page in a window of its own. Notes what it asked of other hosts (and refuses it) and what went wrong."""

    def __init__(self, browser: object, address: str, **window: object) -> None:
        self.address = address
        self.strangers: list[str] = []
        self.errors: list[str] = []
        self._context = browser.new_context(**window)
        self._context.set_default_timeout(PATIENCE)
        self._context.route("**/*", self._guard)
        self.page = self._context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("response", self._response)

    def go(self, page: str) -> "Visit":
        self.page.goto(self.address + page, wait_until="load")
        return self

    def close(self) -> None:
        self._context.close()

    def _guard(self, route: object) -> None:
        url = route.request.url
        if url.startswith((self.address, "data:", "blob:")):
            route.continue_()
        else:
            self.strangers.append(url)
            route.abort()

    def _console(self, message: object) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.type}: {message.text}")

    def _response(self, response: object) -> None:
        if response.status >= 400:
            self.errors.append(f"{response.status}: {response.url}")


@pytest.fixture
def visit(browser: object, address: str) -> Iterator[Callable[..., Visit]]:
    """`visit(width=..., scheme=...)` opens a window; all are closed after the test."""
    opened: list[Visit] = []

    def open_window(width: int = 1280, scheme: str = "light", **window: object) -> Visit:
        visited = Visit(browser, address, viewport={"width": width, "height": 900}, color_scheme=scheme, **window)
        opened.append(visited)
        return visited

    yield open_window
    for visited in opened:
        visited.close()
