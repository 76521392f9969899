"""What Jupyter Book has no setting for: theme options, scripts that must not be asked of strangers, math, search."""

from __future__ import annotations

from html import escape
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

from coursekit.html import TEMPLATES
from coursekit.sphinx_ext.cards import FOLDER, Site, site_of
from coursekit.sphinx_ext.mathml import use_mathml

_UNWANTED_SCRIPTS = ("thebe", "THEBE")


def configure(app: Sphinx, config: Config, site: Site) -> None:
    """Theme options are set here because `html_theme_options` in `_config.yml` would silently drop the buttons."""
    course = site.course
    config.html_title = course.book.short
    config.author = course.group.name
    config.html_theme_options = {
        **config.html_theme_options,
        "repository_url": course.repository,
        "repository_branch": course.branch,
        "path_to_docs": "",
        "use_repository_button": True,
        "use_issues_button": True,
        "use_edit_page_button": False,  # generated pages have no source to edit
        "use_download_button": True,
        "launch_buttons": {"colab_url": "https://colab.research.google.com", "notebook_interface": "jupyterlab"},
        "navbar_persistent": [],
        "disable_search": True,  # the theme's own; see templates/theme/search.html
        "home_page_in_toc": True,
        "show_navbar_depth": 1,
        "extra_footer": _footer(site),
        "footer_content_items": ["extra-footer.html"],
    }
    config.html_context = {**config.html_context, "default_mode": "auto"}
    config.html_static_path.append(str(site.root / "book" / "_static"))
    pictures = site.root / FOLDER / "static"
    pictures.mkdir(parents=True, exist_ok=True)
    config.html_static_path.append(str(pictures))
    config.html_favicon = str(site.root / "book" / "_static" / "favicon.svg")
    config.templates_path.insert(0, str(TEMPLATES / "theme"))
    config.html_additional_pages = {**config.html_additional_pages, "search": "search.html"}
    config.html_sidebars = {"**": ["navbar-logo.html", "course-search.html", "sbt-sidebar-nav.html"]}
    use_mathml(config)


def _footer(site: Site) -> str:
    course = site.course
    return (
        f'<p>Text CC BY 4.0, code Apache-2.0. <a href="{course.repository}">Source</a>, '
        f'<a href="{course.issues}">questions and removals</a>.</p>'
    )


def on_builder(app: Sphinx) -> None:
    if app.builder.format != "html":
        return
    app.builder.search = False  # type: ignore[attr-defined]  # Sphinx's index knows no Korean; pagefind makes ours
    app.add_js_file("course.js", loading_method="defer")


def finish_page(
    app: Sphinx, page: str, template: str, context: dict[str, Any], document: nodes.document | None
) -> None:
    """Takes Thebe's scripts out of every page (they name a host, for a button that is not there); adds a summary."""
    context["script_files"] = [
        script
        for script in context["script_files"]
        if not any(word in f"{script} {getattr(script, 'attributes', '')}" for word in _UNWANTED_SCRIPTS)
    ]
    site = site_of(app)
    week = site.week_of(page)
    description = f"Week {week.week}: {week.title}" if week else " ".join(site.course.book.description.split())
    metatags = context.get("metatags") or ""
    if 'name="description"' not in metatags:
        context["metatags"] = f'{metatags}<meta name="description" content="{escape(description)}" />'
