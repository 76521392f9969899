"""The data page shows the data itself, with words that are true of the pictures; tiles show the weeks' models."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coursekit import gallery
from coursekit.html import render
from coursekit.load import load_course
from tinyvlm.data.changes import LABELS
from tinyvlm.data.scenes import SPLITS
from tinyvlm.data.words import LANGUAGES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", list(gallery.VIEWS))
def test_every_view_has_pictures_with_alt_text_and_lines(name):
    cards = gallery.VIEWS[name]()
    assert cards
    for card in cards:
        assert card.lines and all(line.text for line in card.lines)
        if name == "text":
            assert card.picture is None
            continue
        assert card.picture.dtype == np.uint8 and card.picture.shape[-1] == 3 and card.picture.std() > 5
        assert len(card.alt) >= 15


def test_the_page_shows_every_change_split_and_language():
    assert [card.label for card in gallery.changes()] == list(LABELS.values())
    assert [card.label for card in gallery.split()] == list(SPLITS)
    assert [line.lang for line in gallery.languages()[0].lines] == list(LANGUAGES) == list(gallery.LANGUAGE_NAMES)


def test_changed_captions_differ_from_the_true_ones():
    for card in gallery.changes() + gallery.binding():
        true, false = card.lines
        assert (true.kind, false.kind) == ("true-caption", "false-caption") and true.text != false.text
        if "swapped" in card.label:
            assert sorted(true.text.split()) == sorted(false.text.split())


def test_pictures_are_the_same_at_every_build_and_survive_encoding():
    first, second = gallery.scene()[0].picture, gallery.scene()[0].picture
    assert np.array_equal(first, second)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(gallery.encoded(first)))), first)


def test_facts_are_counted():
    facts = gallery.facts()
    assert facts["nouns"] == facts["seen"] + facts["novel"] and facts["languages"] == 12


def test_every_chapter_with_a_model_has_a_thumbnail_that_shows_what_is_new():
    course = load_course(ROOT)
    shown = gallery.thumbnails(course)
    models = {week.short: shown.get(week.week, "") for week in course.weeks}
    assert all(models[name].count("<svg") == 1 for name in ("ViT", "CLIP", "Pixel-BERT", "ALBEF"))
    assert models["Benchmarks and metrics"] == ""
    assert set(shown) <= {week.week for week in course.weeks if week.notebook}
    assert 'class="x"' not in models["ViT"] and 'class="x"' in models["CLIP"]
    html = render("week_cards", course=course, thumbnails=shown, link=str)
    assert html.count("<svg") == len(shown) and html.count("Blueprint of CLIP") == 1 and "&lt;svg" not in html
