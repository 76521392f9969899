"""Pages written while building, into `book/_generated/`: weeks without a chapter, and the references."""

from __future__ import annotations

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from coursekit.files import write_text
from coursekit.html import TEMPLATES, day
from coursekit.sphinx_ext.cards import FOLDER, Site


def write_pages(site: Site) -> None:
    """Writes the pages that `course.yml` implies and removes those of weeks that have become chapters."""
    folder = site.root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    environment = Environment(  # Markdown, hence without HTML escaping
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["day"] = day
    runnable = [week for week in site.course.weeks if week.notebook]
    for week in site.course.weeks:
        path = folder / f"week{week.week:02d}.md"
        if week.notebook:
            path.unlink(missing_ok=True)
        else:
            write_text(path, environment.get_template("week_page.md").render(week=week, runnable=runnable))
    write_text(folder / "references.md", environment.get_template("references.md").render(course=site.course))
