"""Directives for the book's own pages. Each is one line in Markdown, filled from `course.yml` and the receipts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from coursekit.files import write_bytes
from coursekit.load import NAME
from coursekit.receipts import Proof
from coursekit.schema import Course, Week
from coursekit.sphinx_ext.cards import FOLDER, Site, course_html, site_of

if TYPE_CHECKING:
    from coursekit.gallery import Card  # brings torch, which only the data page needs


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

    def values(self, site: Site) -> dict[str, object]:
        from coursekit import gallery

        return {"course": site.course, "thumbnails": gallery.thumbnails(site.course)}


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


class EmojiView(SphinxDirective):
    """`{emoji-view} NAME`: one view of the emoji world, its pictures rendered now. Names: `coursekit.gallery.VIEWS`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        from coursekit import gallery

        name = self.arguments[0]
        if name not in gallery.VIEWS:
            raise self.error(f"Unknown view {name!r}: choose one of {', '.join(gallery.VIEWS)}.")
        folder = site_of(self.env.app).root / FOLDER / "static" / "world"
        folder.mkdir(parents=True, exist_ok=True)
        cards = [_shown(card, folder / f"{name}-{i}.webp") for i, card in enumerate(gallery.VIEWS[name]())]
        return [course_html("gallery", name=name, cards=cards, languages=gallery.LANGUAGE_NAMES)]


class EmojiFacts(SphinxDirective):
    """`{emoji-facts}`: how large the emoji world is, counted now."""

    def run(self) -> list[nodes.Node]:
        from coursekit import gallery

        return [course_html("facts", facts=gallery.facts())]


def _shown(card: Card, path: Path) -> dict[str, object]:
    """What the template needs to know of a card, its picture written to `path`."""
    shown: dict[str, object] = {"alt": card.alt, "lines": card.lines, "label": card.label, "source": "", "wide": False}
    if card.picture is not None:
        from coursekit.gallery import encoded

        height, width = card.picture.shape[:2]
        write_bytes(path, encoded(card.picture))
        shown |= {"source": path.name, "width": width, "height": height, "wide": width > 1.5 * height}
    return shown


def red_thread(proofs: list[Proof]) -> dict[str, object]:
    """Rows (one a model, in the order of the weeks) and columns (changes in the data's own order) of the table."""
    from tinyvlm.data.changes import CHANGES, LABELS

    rows = [
        {"week": proof.week, "state": proof.state, "model": model, "values": values, **proof.runs_behind(model)}
        for proof in proofs
        for model, values in proof.single_changes.items()
    ]
    measured = {change for proof in proofs for values in proof.single_changes.values() for change in values}
    changes = [change for change in CHANGES if change in measured] + sorted(measured - set(CHANGES))
    return {"rows": rows, "changes": changes, "labels": {change: LABELS.get(change, change) for change in changes}}


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
    "emoji-view": EmojiView,
    "emoji-facts": EmojiFacts,
}
