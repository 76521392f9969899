"""Draws the emoji of a bitmap font and lays them out on one sheet: curated ones sharp, the others small."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

from tinyvlm.data.emoji import SHEET_WIDTH, sheet_cells
from tinyvlm.data.resize import resize_area

STRIKE = 109  # the one bitmap size in the font: 136 x 128 pixels
CANVAS = 192


def draw(char: str, font: ImageFont.FreeTypeFont) -> np.ndarray:
    """One emoji as the font has it, cut to its ink and centred in a square: uint8 [s,s,4], straight alpha."""
    image = Image.new("RGBA", (CANVAS, CANVAS))
    ImageDraw.Draw(image).text((20, 20), char, font=font, embedded_color=True)
    box = image.getbbox()
    if box is None:
        raise ValueError(f"the font draws nothing for {char!r}: it is not the font this course was built from")
    ink = np.asarray(image.crop(box))
    side = max(ink.shape[:2])
    square = np.zeros((side, side, 4), np.uint8)
    top, left = (side - ink.shape[0]) // 2, (side - ink.shape[1]) // 2
    square[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return square


def build_sheet(chars: Iterable[str], curated: list[bool], font_path: Path) -> np.ndarray:
    """The sheet: uint8 [height, SHEET_WIDTH, 4]; where each emoji lies is `tinyvlm.data.emoji.sheet_cells`."""
    if not features.check("raqm"):
        raise RuntimeError("Pillow without raqm draws joined emoji apart: install Pillow's own wheel, which has it")
    font = ImageFont.truetype(str(font_path), STRIKE)
    cells = sheet_cells(curated)
    sheet = np.zeros((max(top + size for top, _, size in cells), SHEET_WIDTH, 4), np.uint8)
    chars = list(chars)
    for number, (char, (top, left, size)) in enumerate(zip(chars, cells, strict=True), 1):
        sprite = resize_area(draw(char, font), size)
        sprite[sprite[..., 3] == 0] = 0  # invisible colour would only make the file larger
        sheet[top : top + size, left : left + size] = sprite
        if number % 300 == 0 or number == len(chars):
            print(f"  sprites {number:,} / {len(chars):,}", flush=True)
    return sheet
