"""Drawings of specs: all of a spec stands in them, what is new in the accent, and they fit a phone."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest
import torch

from tinyvlm.blueprint import Arrow, Blocks, Blueprint, Branch, Line, Part, describe
from tinyvlm.layers.masks import Mask
from tinyvlm.models import ALBEF, CLIP, PixelBERT, ViT
from tinyvlm.viz import blueprint, mask_picture
from tinyvlm.viz.svg import DARK, LIGHT

WEEKS = [(ViT, None), (CLIP, ViT), (PixelBERT, CLIP), (ALBEF, PixelBERT)]
SVG = "{http://www.w3.org/2000/svg}"
ATTENTION = Branch("attention", "self-attention", "4 heads")
GATED = Branch("cross", "cross-attention", "4 heads", gate=True)


def toy(*branches: Branch, frozen: bool = False) -> Blueprint:
    parts = (
        Part("", "image", "left", role="input", key="image", out="3 × 8"),
        Part("", "text", "right", role="input", key="text"),
        Part("tower", "tower", "left", ("image",), (Line("norm", "LayerNorm", "8"),), out="4 × 8", frozen=frozen),
        Part("words", "words", "right", ("text",), out="n × 8"),
        Part("match", "match", "left", ("tower",), out="2"),
        Part("", "fused", "full", ("words", Arrow("tower", into=branches[-1].name)), (Blocks("fusion", 3, branches),)),
    )
    return Blueprint("Toy", "micro", parts)


def drawn(model: type, old: type | None, **options: object):
    return blueprint(model.blueprint("micro"), None if old is None else old.blueprint("micro"), **options)


def texts(svg: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(svg).iter(f"{SVG}text"))


def test_every_name_size_and_shape_of_a_spec_stands_in_the_drawing():
    shown = [text.text for text in texts(blueprint(toy(ATTENTION, GATED)).svg)]
    words = "image|3 × 8|tower|norm|LayerNorm|8|4 × 8|fusion|× 3|cross|gate|n × 8"
    for word in words.split("|"):
        assert word in shown, word
    assert shown.count("norm") == 3  # the tower's own, and one a residual


@pytest.mark.parametrize(("model", "old"), WEEKS)
def test_drawings_are_small_valid_and_carry_their_words(model, old):
    shown = drawn(model, old)
    root = ElementTree.fromstring(shown.svg)
    assert root.get("role") == "img" and root.find(f"{SVG}title").text == f"Blueprint of {model.__name__}, micro"
    assert root.find(f"{SVG}desc").text == str(shown) == shown.alt_text
    assert shown._repr_html_() == shown.svg and len(shown.svg.encode()) < 25_000
    assert not re.search(r"href|url\(|<script|\bid=", shown.svg)


@pytest.mark.parametrize(("model", "old"), WEEKS)
def test_boxes_stay_on_a_phone_and_letters_are_large_enough(model, old):
    shown = drawn(model, old)
    root = ElementTree.fromstring(shown.svg)
    width, height = map(float, root.get("viewBox").split()[2:])
    assert width <= 343  # what a page of 375 px leaves between its margins
    assert min(map(int, re.findall(r"(\d+)px (?:system|ui)", shown.svg))) >= 12
    for rect in root.iter(f"{SVG}rect"):
        left, top, wide, tall = (float(rect.get(name)) for name in ("x", "y", "width", "height"))
        assert left >= 0 and top >= 0 and left + wide <= width and top + tall <= height and wide > 0 < tall


def test_boxes_of_parts_do_not_overlap():
    root = ElementTree.fromstring(drawn(ALBEF, PixelBERT).svg)
    edges = [[float(rect.get(name)) for name in ("x", "y", "width", "height")] for rect in root.iter(f"{SVG}rect")]
    outer = [(x, y, x + w, y + h) for x, y, w, h in edges if (x, w) in {(16, 144), (176, 144), (101, 134), (16, 304)}]
    assert len(outer) == len(ALBEF.blueprint("micro").parts)
    for place, one in enumerate(outer):
        for other in outer[:place]:
            apart = one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3]
            assert apart, (one, other)


@pytest.mark.parametrize("length", range(1, 60))
@pytest.mark.parametrize("size", ["", "12"])
def test_words_of_any_length_take_no_empty_row_and_none_is_lost(length, size):
    words = " ".join(["word"] * length)
    shown = blueprint(Blueprint("Toy", "s", (Part("head", words, "left", size=size),)))
    rows = {text.get("y") for text in texts(shown.svg)}
    tall = float(ElementTree.fromstring(shown.svg).find(f"{SVG}rect").get("height"))
    assert tall == 15 * (len(rows) - 1) + 8
    told = " ".join(text.text for text in texts(shown.svg))
    assert told.count("word") == length and (size in told.split() or not size)


def accented(svg: str) -> list[str]:
    return [text.text for text in texts(svg) if "x" in text.get("class", "").split()]


def test_only_what_is_new_has_the_accent():
    same = blueprint(toy(ATTENTION), toy(ATTENTION))
    assert accented(same.svg) == ["new since Toy"]
    grown = blueprint(toy(ATTENTION, GATED), toy(ATTENTION))
    assert accented(grown.svg) == ["cross", "cross-attention", "gate", "tanh, from 0", "new since Toy"]
    assert accented(blueprint(toy(ATTENTION)).svg) == []
    post = Branch("attention", "self-attention", "8 heads", "post")
    assert "attention" in accented(blueprint(toy(post), toy(ATTENTION)).svg)


def test_numbers_alone_are_no_change():
    other = Branch("attention", "self-attention", "16 heads")
    assert accented(blueprint(toy(other), toy(ATTENTION)).svg) == ["new since Toy"]


def test_what_is_frozen_is_dashed_and_says_so():
    frozen, learning = blueprint(toy(ATTENTION, frozen=True)).svg, blueprint(toy(ATTENTION)).svg
    assert 'class=" d"' in frozen and "no gradient" in frozen
    assert 'class=" d"' not in learning and "no gradient" not in learning


def test_the_norm_stands_before_or_behind_the_branch_as_in_the_code():
    def order(placement: str) -> list[str]:
        found = texts(blueprint(toy(Branch("attention", "self-attention", "4 heads", placement))).svg)
        inside = [text for text in found if text.text in ("norm", "attention")][1:]
        return [text.text for text in sorted(inside, key=lambda text: float(text.get("y")))]

    assert order("pre") == ["norm", "attention"] and order("post") == ["attention", "norm"]


def test_an_arrow_that_would_cross_a_box_is_refused():
    parts = (Part("a", "a"), Part("b", "b", inputs=("a",)), Part("c", "c", inputs=("a",)))
    with pytest.raises(ValueError, match="c cannot be reached from a, which stands in the middle; move one"):
        blueprint(Blueprint("Toy", "micro", parts))


@pytest.mark.parametrize(("model", "old"), WEEKS)
def test_thumbnails_are_four_by_three_without_shapes(model, old):
    shown = drawn(model, old, small=True)
    root = ElementTree.fromstring(shown.svg)
    width, height = map(float, root.get("viewBox").split()[2:])
    assert 3 * width == 4 * height and len(shown.svg.encode()) < 6_000 and not texts(shown.svg)
    assert root.find(f"{SVG}title").text == f"Blueprint of {model.__name__}"
    for rect in root.iter(f"{SVG}rect"):
        assert float(rect.get("y")) + float(rect.get("height")) <= height
    assert ('class="x"' in shown.svg) == (old is not None)
    assert shown.alt_text == describe(model.blueprint("micro"), None if old is None else old.blueprint("micro"))


def filled(svg: str) -> list[bool]:
    return [rect.get("class") == "f" for rect in ElementTree.fromstring(svg).iter(f"{SVG}rect")]


PADDING = torch.tensor([[True, True, True], [True, True, False]])


@pytest.mark.parametrize(
    ("mask", "row", "cells"),
    [
        (Mask(), 0, "111 111 111"),
        (Mask(causal=True), 0, "100 110 111"),
        (Mask(causal=True, prefix=torch.tensor([2])), 0, "110 110 111"),
        (Mask(padding=PADDING), 0, "111 111 111"),
        (Mask(padding=PADDING), 1, "110 110 110"),
        (Mask(allow=torch.eye(3).bool()), 0, "100 010 001"),
    ],
)
def test_a_mask_is_drawn_as_it_resolves(mask, row, cells):
    assert filled(mask_picture(mask, 3, 3, row=row).svg) == [cell == "1" for cell in cells.replace(" ", "")]


def test_a_mask_is_told_with_the_names_of_its_tokens():
    shown = mask_picture(Mask(causal=True), ["a", "red", "fox"], ["a", "red", "fox"])
    assert str(shown) == (
        "Attention mask of 3 queries and 3 keys. a attends to a; red attends to a, red; fox attends to every key."
    )
    assert [text.text for text in texts(shown.svg)].count("fox") == 2
    assert "1 attends to no key" in str(mask_picture(Mask(allow=torch.zeros(1, 1).bool()), 1, 2))


def test_masks_that_no_phone_shows_and_empty_ones_are_refused():
    with pytest.raises(ValueError, match=r"20 keys beside names of 1 letters are .* draw fewer keys or shorter names"):
        mask_picture(Mask(), 3, 20)
    with pytest.raises(ValueError, match="no query or no key to draw; give at least one of each"):
        mask_picture(Mask(), 0, 3)


def test_drawing_needs_no_notebook():
    code = (
        "import sys; sys.modules['IPython'] = None\n"
        "from tinyvlm.blueprint import Blueprint, Part\n"
        "from tinyvlm.viz import blueprint\n"
        "print(blueprint(Blueprint('Toy', 'micro', (Part('head', 'linear layer'),))))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout == "Blueprint of Toy, size micro, from top to bottom. head: linear layer.\n", ran.stderr


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_colours_are_read_in_light_and_dark(palette):
    """WCAG's 4.5 for letters and 3 for edges; checkers of pages do not look into SVG."""
    colours = {name: luminance(value) for name, value in re.findall(r"--(\w+):(#\w+)", palette)}

    def contrast(one: str, other: str) -> float:
        low, high = sorted((colours[one], colours[other]))
        return (high + 0.05) / (low + 0.05)

    for paper in ("paper", "box", "tint"):
        assert min(contrast(ink, paper) for ink in ("ink", "quiet", "new")) >= 4.5, paper
    assert min(contrast("line", "paper"), contrast("line", "box"), contrast("new", "paper")) >= 3
