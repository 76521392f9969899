"""The emoji world's things: 1,849 untoned emoji, their pictures and their words in twelve languages.

Pictures are Noto Color Emoji (OFL-1.1); names, keywords, groups and subgroups are Unicode's (emoji-test.txt 15.0 and
CLDR 41, Unicode-DFS-2016). `tools/build_assets.py` builds the files read here; `assets/nouns.json` is the curated
list: which emoji are the nouns of scenes, in which order, and why each of the others is left out.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tinyvlm.data.checksums import ASSETS, read_asset
from tinyvlm.data.resize import resize_area
from tinyvlm.data.words import LANGUAGES, check_language

__all__ = ["LANGUAGES", "Emoji", "EmojiTable", "LeftOut", "load_emoji"]

SHEET_WIDTH = 2048
NOUN_SIZE = 64  # px of a curated sprite on the sheet
OTHER_SIZE = 32  # px of the others, which serve only the `single` view
LARGEST_SPRITE = 1024


def sheet_cells(curated: Sequence[bool]) -> list[tuple[int, int, int]]:
    """Place of each emoji on the sprite sheet: (top, left, size) in px, in the order of the table.

    Curated sprites fill rows from the top, 64 px each; the others follow below, 32 px each.
    """
    nouns = sum(curated)
    floor = -(-nouns // (SHEET_WIDTH // NOUN_SIZE)) * NOUN_SIZE
    counts = {True: 0, False: 0}
    cells = []
    for sharp in curated:
        size = NOUN_SIZE if sharp else OTHER_SIZE
        row, column = divmod(counts[sharp], SHEET_WIDTH // size)
        cells.append(((0 if sharp else floor) + row * size, column * size, size))
        counts[sharp] += 1
    return cells


@dataclass(frozen=True)
class Emoji:
    """One emoji. `id` is its place in the table (Unicode's order); `noun` its short English noun, if curated."""

    id: int
    char: str
    codepoints: str
    group: str
    subgroup: str
    names: Mapping[str, str]
    noun: str | None
    joined_keywords: tuple[str, ...] = field(repr=False)

    @property
    def keywords(self) -> dict[str, tuple[str, ...]]:
        """CLDR's keywords by language: search terms, not sentences."""
        return {
            language: tuple(joined.split("|")) if joined else ()
            for language, joined in zip(LANGUAGES, self.joined_keywords, strict=True)
        }


@dataclass(frozen=True)
class LeftOut:
    """A family of emoji that are not nouns of scenes. `subgroups` go as a whole, but for what is curated or in
    another family's `emoji`."""

    family: str
    reason: str
    subgroups: tuple[str, ...]
    emoji: tuple[str, ...]


class EmojiTable:
    """Emoji, nouns, their words and their pictures. Made by `load_emoji`.

    A *noun id* is an index into `nouns`: first the seen ones, then those kept for the `novel` split. The order is
    a fixed shuffle, so that the first n seen nouns are spread over all groups.
    """

    def __init__(
        self,
        emoji: tuple[Emoji, ...],
        curated: list[dict[str, str]],
        left_out: tuple[LeftOut, ...],
        folder: Path = ASSETS,
    ) -> None:
        by_char = {one.char: one for one in emoji}
        self.emoji = emoji
        self.nouns: tuple[Emoji, ...] = tuple(by_char[row["emoji"]] for row in curated)
        self.seen: tuple[int, ...] = tuple(i for i, row in enumerate(curated) if row["split"] == "seen")
        self.novel: tuple[int, ...] = tuple(i for i, row in enumerate(curated) if row["split"] == "novel")
        self.left_out = left_out
        self._curated = curated
        self._folder = folder
        self._names = {
            language: tuple(
                row.get(language) or one.names[language] for row, one in zip(curated, self.nouns, strict=True)
            )
            for language in LANGUAGES
        }
        self._names["en"] = tuple(row["noun"] for row in curated)
        self._sprites: dict[tuple[int, int], np.ndarray] = {}
        self._noun_sprites: dict[int, np.ndarray] = {}

    def _check_noun(self, noun_id: int) -> None:
        if not 0 <= noun_id < len(self.nouns):
            raise ValueError(f"noun {noun_id} does not exist: noun ids run from 0 to {len(self.nouns) - 1}")

    def names(self, language: str = "en") -> tuple[str, ...]:
        """All nouns in `language`, in the order of noun ids. ValueError for an unknown language."""
        check_language(language)
        return self._names[language]

    def name(self, noun_id: int, language: str = "en") -> str:
        """Citation form of a noun: the short noun in English, CLDR's name in the other languages.

        Raises ValueError for an unknown noun id or language.
        """
        self._check_noun(noun_id)
        return self.names(language)[noun_id]

    def plural(self, noun_id: int) -> str:
        """English plural ("wolves"); for what is not counted the noun itself ("bread"). ValueError: unknown id."""
        self._check_noun(noun_id)
        return self._curated[noun_id]["plural"]

    def article(self, noun_id: int) -> str:
        """English indefinite article "a" or "an"; "" for what takes none ("bread", "jeans"). ValueError: unknown id."""
        self._check_noun(noun_id)
        return self._curated[noun_id]["article"]

    @cached_property
    def _sheet(self) -> np.ndarray:
        with Image.open(io.BytesIO(read_asset("sprites.png", self._folder))) as image:
            return np.asarray(image.convert("RGBA"))

    @cached_property
    def _cells(self) -> list[tuple[int, int, int]]:
        return sheet_cells([one.noun is not None for one in self.emoji])

    def _stored(self, emoji_id: int) -> np.ndarray:
        top, left, size = self._cells[emoji_id]
        return self._sheet[top : top + size, left : left + size]

    def sprite(self, emoji_id: int, size: int) -> np.ndarray:
        """Picture of any emoji (an *emoji* id, not a noun id): uint8 [size,size,4], RGBA, straight alpha, read-only.

        Nouns are stored at 64 px, the others at 32 px; beyond that the picture only gets larger, not sharper. The same
        pixels on every machine (exact integer averaging). Raises ValueError for an unknown id or size.
        """
        if not 0 <= emoji_id < len(self.emoji):
            raise ValueError(f"emoji {emoji_id} does not exist: emoji ids run from 0 to {len(self.emoji) - 1}")
        self._check_size(size)
        key = (emoji_id, size)
        if key not in self._sprites:
            self._sprites[key] = _frozen(resize_area(self._stored(emoji_id), size))
        return self._sprites[key]

    def noun_sprites(self, size: int) -> np.ndarray:
        """Pictures of all nouns by noun id: uint8 [n_nouns,size,size,4], RGBA, straight alpha, read-only, cached."""
        self._check_size(size)
        if size not in self._noun_sprites:
            stored = np.stack([self._stored(one.id) for one in self.nouns])
            self._noun_sprites[size] = _frozen(resize_area(stored, size))
        return self._noun_sprites[size]

    def _check_size(self, size: int) -> None:
        if not 1 <= size <= LARGEST_SPRITE:
            raise ValueError(f"a sprite of {size} px cannot be made: choose a size from 1 to {LARGEST_SPRITE} px")


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)  # it is cached: a caller that drew into it would change everyone's pictures
    return array


def _parse(name: str, folder: Path) -> Any:
    return json.loads(read_asset(name, folder))


@lru_cache(maxsize=4)
def load_emoji(folder: Path = ASSETS) -> EmojiTable:
    """The table, read once per process. The sprite sheet is decoded when the first picture is asked for.

    Raises FileNotFoundError or ValueError, naming the file and the remedy, when a data file is missing or damaged.
    """
    table = _parse("annotations.json", folder)
    curated = _parse("nouns.json", folder)
    read_asset("sprites.png", folder)  # found damaged here, not in the middle of a training run
    nouns = {row["emoji"]: row["noun"] for row in curated["nouns"]}
    emoji = tuple(
        Emoji(
            id=number,
            char=char,
            codepoints=" ".join(f"{ord(point):04X}" for point in char),
            group=table["groups"][group],
            subgroup=table["subgroups"][subgroup],
            names=dict(zip(LANGUAGES, names, strict=True)),
            noun=nouns.get(char),
            joined_keywords=tuple(keywords),
        )
        for number, (char, group, subgroup, names, keywords) in enumerate(table["emoji"])
    )
    left_out = tuple(
        LeftOut(row["family"], row["reason"], tuple(row["subgroups"]), tuple(row["emoji"].split()))
        for row in curated["left_out"]
    )
    return EmojiTable(emoji, curated["nouns"], left_out, folder)
