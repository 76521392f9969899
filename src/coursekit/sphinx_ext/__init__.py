"""Sphinx extension of the site: everything that is made from `course.yml` and the receipts while building.

Writes pages for weeks without a chapter into `book/_generated/` (never committed), puts the header card and the proof
of run on every week's page, offers the directives of `coursekit.sphinx_ext.directives`, and settles what Jupyter Book
has no setting for (`coursekit.sphinx_ext.theme`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

from coursekit.load import CourseError, load_course
from coursekit.receipts import proofs
from coursekit.sphinx_ext import cards, directives, pages, theme


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(cards.CourseHtml, html=(cards.visit_course_html, None))
    for name, directive in directives.DIRECTIVES.items():
        app.add_directive(name, directive)
    app.connect("config-inited", _start, priority=100)
    app.connect("builder-inited", theme.on_builder, priority=900)
    app.connect("source-read", cards.mark_solutions)
    app.connect("doctree-read", cards.insert_cards)
    app.connect("html-page-context", theme.finish_page, priority=900)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}


def _start(app: Sphinx, config: Config) -> None:
    root = Path(app.srcdir)
    try:
        course = load_course(root)
        found = proofs(root, course)
    except (CourseError, FileNotFoundError, ValueError) as error:
        raise ExtensionError(str(error)) from None
    site = cards.Site(root, course, {proof.week.week: proof for proof in found})
    cards.attach(app, site)
    pages.write_pages(site)
    theme.configure(app, config, site)
