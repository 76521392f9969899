"""Header cards and proofs of run: HTML from templates, placed into a page's document tree."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from coursekit.html import render
from coursekit.load import NAME
from coursekit.receipts import Proof
from coursekit.schema import Course, Week

FOLDER = "book/_generated"  # everything written while building; ignored by git


@dataclass(frozen=True)
class Site:
    """What a build knows: the repository's root, the course, and the proofs by week number."""

    root: Path
    course: Course
    proofs: dict[int, Proof]

    def week_of(self, page: str) -> Week | None:
        return next((week for week in self.course.weeks if week.page == page), None)


def attach(app: Sphinx, site: Site) -> None:
    """Makes the site reachable from `app`, for `site_of`."""
    app.coursekit_site = site  # type: ignore[attr-defined]


def site_of(app: Sphinx) -> Site:
    return app.coursekit_site  # type: ignore[attr-defined,no-any-return]


class CourseHtml(nodes.General, nodes.Element):
    """A piece of a page that `template` and `values` describe; links are resolved when the page is written."""


def course_html(template: str, **values: Any) -> CourseHtml:
    return CourseHtml("", template=template, values=values)


def visit_course_html(translator: HTML5Translator, node: CourseHtml) -> None:
    page = translator.builder.current_docname

    def link(target: str) -> str:
        return translator.builder.get_relative_uri(page, target) or "#"

    up = "../" * page.count("/")
    translator.body.append(render(node["template"], link=link, up=up, **node["values"]))
    raise nodes.SkipNode


def insert_cards(app: Sphinx, document: nodes.document) -> None:
    """The header card goes under the title of a week's page; a chapter also gets its proof of run at the end."""
    site = site_of(app)
    week = site.week_of(app.env.docname)
    if week is None:
        return
    section = next(iter(document.findall(nodes.section)), None)
    if section is None:
        raise ValueError(f"{app.env.docname} has no title: a week's page starts with a heading of level one.")
    proof = site.proofs.get(week.week)
    app.env.note_dependency(str(site.root / NAME))
    app.env.note_dependency(str(site.root / week.receipt))
    title = section.first_child_matching_class(nodes.title) or 0
    section.insert(title + 1, course_html("header", week=week, proof=proof, **_addresses(site.course, week)))
    if proof:
        section.append(course_html("proof", proof=proof))


def _addresses(course: Course, week: Week) -> dict[str, str | None]:
    if week.notebook is None:
        return {"colab": None, "source": None}
    return {"colab": course.colab(week), "source": "../" * week.notebook.count("/") + f"_sources/{week.notebook}"}


def mark_solutions(app: Sphinx, page: str, source: list[str]) -> None:
    """Folds cells tagged `solution` on the site, behind a line that says so; the notebook itself stays as it is."""
    if not page.startswith("notebooks/") or not source[0].lstrip().startswith("{"):
        return
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        tags = cell["metadata"].get("tags", [])
        if cell["cell_type"] == "code" and "solution" in tags and "hide-cell" not in tags:
            cell["metadata"]["tags"] = [*tags, "hide-cell"]
            prompts = {"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"}
            cell["metadata"]["mystnb"] = prompts | cell["metadata"].get("mystnb", {})
    source[0] = json.dumps(notebook, ensure_ascii=False)
