"""One scene at a time, as words and with draws of its own: what questions and statements are made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.hashing import bits
from tinyvlm.data.scenes import Scenes, pool
from tinyvlm.data.words import BACKGROUNDS, CELLS, COLOURS

T = TypeVar("T")
_DRAWS = 24  # more than any question or statement needs


class Facts:
    """A scene in English words. `noun` and `colour` map occupied cells to words; `draw` and `one` give its random
    choices in order."""

    def __init__(self, scenes: Scenes, row: int, random: Sequence[np.uint64], nouns: Sequence[int]) -> None:
        self.names = load_emoji().names("en")
        self.ids = {cell: noun for cell, noun in enumerate(scenes.noun[row].tolist()) if noun >= 0}
        self.noun = {cell: self.names[noun] for cell, noun in self.ids.items()}
        self.colour = {cell: COLOURS[scenes.plate[row, cell]] for cell in self.ids}
        self.background = BACKGROUNDS[scenes.background[row]]
        self.copies = len(self.ids) > 1 and len(set(self.ids.values())) == 1
        self._spec, self._nouns = scenes.spec, nouns
        self._random = iter(random)

    def draw(self, n: int) -> int:
        """An integer from 0 to n-1."""
        return (int(next(self._random)) >> 32) * n >> 32  # `hashing.below` for one number

    def one(self, options: Sequence[T]) -> T:
        """One of `options`, evenly."""
        return options[self.draw(len(options))]

    def coin(self) -> bool:
        return self.draw(2) == 0

    def other(self, options: Sequence[str], but: str) -> str:
        """One of `options` that is not `but`; `but` itself if there is no other."""
        return self.one([option for option in options if option != but] or [but])

    @property
    def colours(self) -> tuple[str, ...]:
        """Plate colours that scenes of this spec may show."""
        return COLOURS[: self._spec.plates]

    @property
    def backgrounds(self) -> tuple[str, ...]:
        return BACKGROUNDS[: self._spec.backgrounds]

    def present(self) -> int:
        """An occupied cell."""
        return self.one(sorted(self.noun))

    def absent_noun(self) -> str:
        """A noun of the split that is not in the scene; ValueError where the spec has no other nouns."""
        ids = self._nouns
        start = self.draw(len(ids))
        for step in range(len(ids)):
            if (noun := ids[(start + step) % len(ids)]) not in self.ids.values():
                return self.names[noun]
        raise ValueError(f"every one of the {len(ids)} nouns is in the scene; raise `nouns` in the spec")

    def absent_place(self, cell: int) -> str:
        """A place where the noun of `cell` is not."""
        elsewhere = [CELLS[k] for k in range(4) if self.ids.get(k) != self.ids[cell]]
        return self.one(elsewhere) if elsewhere else ""


def each(scenes: Scenes, field: str) -> Iterator[Facts]:
    """The facts of each scene in turn, drawing from a stream named `field`."""
    random = bits(scenes.key, field, _DRAWS)
    nouns = pool(scenes.spec, scenes.split).tolist()
    for row in range(len(scenes)):
        yield Facts(scenes, row, random[row], nouns)
