"""Directives for the book's own pages. Each is one line in Markdown, filled from `course.yml` and the receipts."""

from __future__ import annotations

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from coursekit.load import NAME
from coursekit.receipts import Proof
from coursekit.schema import Course, Week
from coursekit.sphinx_ext.cards import Site, course_html, site_of


class CourseDirective(SphinxDirective):
    """Base: a directive without content that turns the site into one piece of HTML."""

    template: str

    def run(self) -> list[nodes.Node]:
        site = site_of(self.env.app)
        self.env.note_dependency(str(site.root / NAME))
        for week in site.course.weeks:
            self.env.note_dependency(str(site.root / week.receipt))
        return [course_html(self.template, **self.values(site))]

    def values(self, site: Site) -> dict[str, object]:
        return {"course": site.course}


class Syllabus(CourseDirective):
    """`{syllabus}`: the fourteen weeks as a table."""

    template = "syllabus"


class WeekCards(CourseDirective):
    """`{week-cards}`: the fourteen weeks as tiles that lead to their pages."""

    template = "week_cards"


class RedThread(CourseDirective):
    """`{red-thread}`: forced choice between the true caption and one with a single change, a row a model."""

    template = "red_thread"

    def values(self, site: Site) -> dict[str, object]:
        return red_thread(list(site.proofs.values()))


class Status(CourseDirective):
    """`{receipt-status}`: all receipts and whether they still hold."""

    template = "status"

    def values(self, site: Site) -> dict[str, object]:
        return {"course": site.course, "proofs": list(site.proofs.values())}


class People(CourseDirective):
    """`{people}`: speakers who agreed to be named, with their weeks, and how to be taken down."""

    template = "people"

    def values(self, site: Site) -> dict[str, object]:
        return {"course": site.course, "people": people(site.course)}


def red_thread(proofs: list[Proof]) -> dict[str, object]:
    """Rows (one a model, in the order of the weeks) and columns (changes in the data's own order) of the table."""
    from tinyvlm.data.changes import CHANGES

    rows = [
        {"week": proof.week, "state": proof.state, "model": model, "values": values}
        for proof in proofs
        for model, values in proof.single_changes.items()
    ]
    measured = {change for proof in proofs for values in proof.single_changes.values() for change in values}
    changes = [change for change in CHANGES if change in measured] + sorted(measured - set(CHANGES))
    return {"rows": rows, "changes": changes}


def people(course: Course) -> dict[str, list[Week]]:
    """Published speakers and their weeks, in the order of their first talk."""
    found: dict[str, list[Week]] = {}
    for week in course.weeks:
        if week.speaker_name:
            found.setdefault(week.speaker_name, []).append(week)
    return found


DIRECTIVES = {
    "syllabus": Syllabus,
    "week-cards": WeekCards,
    "red-thread": RedThread,
    "receipt-status": Status,
    "people": People,
}
