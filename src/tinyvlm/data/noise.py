"""Captions as the web has them: a chosen share belongs to another picture, breaks off, or is a heap of keywords."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tinyvlm.data.captions import captions
from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.hashing import Bits, below, bits
from tinyvlm.data.scenes import Scenes, SceneSpec, content
from tinyvlm.data.views import Batch
from tinyvlm.data.words import BACKGROUNDS, COLOURS, words
from tinyvlm.data.world import World

NOISES: tuple[str, ...] = ("clean", "swapped", "truncated", "keywords")


@dataclass(frozen=True)
class Noise:
    """Shares of captions that are swapped for another scene's, cut off, or turned into keywords; the rest is clean.

    Raises ValueError unless they are numbers from 0 to 1 that add up to at most 1.
    """

    swapped: float = 0.3
    truncated: float = 0.0
    keywords: float = 0.0

    def __post_init__(self) -> None:
        shares = (self.swapped, self.truncated, self.keywords)
        if min(shares) < 0 or sum(shares) > 1:
            raise ValueError(f"{self}: these are shares of all captions; use numbers from 0 to 1 that sum to at most 1")


def noise_kinds(keys: Bits, noise: Noise) -> NDArray[np.int64]:
    """What happens to the caption of each scene, by its key: places in `NOISES`, int64 [B]."""
    draw = (bits(keys, "noise") >> np.uint64(11)) * 2.0**-53
    ends = np.cumsum([noise.swapped, noise.truncated, noise.keywords])
    return (np.searchsorted(ends, draw, side="right") + 1) % len(NOISES)


def truncate(text: str, random: Bits) -> str:
    """The first words of a text: at least one, and not all (of a text with a single word, that word). random: [1]."""
    parts = text.split()
    return " ".join(parts[: 1 + int(below(random, max(1, len(parts) - 1))[0])]).rstrip(",")


def keyword_soup(scenes: Scenes, language: str = "en") -> list[str]:
    """For each scene, the nouns, plate colours and background without order or grammar; one or two words are missing.

    Nouns always stay, so that the text still belongs to its picture.
    """
    nouns, colours = load_emoji().names(language), words(COLOURS, language)
    grounds = words(BACKGROUNDS, language)
    soups = []
    for row, random in enumerate(bits(scenes.key, "keywords", 10)):
        cells = np.flatnonzero(scenes.noun[row] >= 0)
        things = list(dict.fromkeys(nouns[scenes.noun[row, cell]] for cell in cells))
        ground = grounds[scenes.background[row]]
        rest = list(dict.fromkeys([*(colours[scenes.plate[row, cell]] for cell in cells), ground]))
        for lane in range(1 + int(below(random[8:9], 2)[0])):
            rest.pop(int(below(random[lane : lane + 1], len(rest))[0]))  # a colour and the background: two at least
        bag = things + rest
        order = np.argsort(bits(random[9:10], "order", len(bag))[0], kind="stable")
        soups.append(" ".join(bag[i] for i in order))
    return soups


class NoisyWorld(World):
    """A `World` some of whose captions are wrong; `batch` also says which, as noise int64 [B], a place in `NOISES`.

    Takes what `World` takes, and `noise`. Pictures, negatives and single changes are those of the same `World`.
    """

    def __init__(
        self,
        split: str = "train",
        seed: int = 0,
        spec: SceneSpec = SceneSpec(),  # noqa: B008 (frozen)
        size: int = 48,
        language: str = "en",
        context: int | None = None,
        noise: Noise = Noise(),
    ) -> None:
        super().__init__(split, seed, spec, size, language, context)
        self.noise = noise

    def _texts(self, scenes: Scenes) -> tuple[list[str], Batch]:
        lines = captions(scenes, self.language)
        kinds = noise_kinds(scenes.key, self.noise)
        cut = bits(scenes.key, "cut")
        swapped, short, soup = (np.flatnonzero(kinds == kind) for kind in (1, 2, 3))
        for row in short:
            lines[row] = truncate(lines[row], cut[row : row + 1])
        for rows, wrong in (
            (swapped, captions(self._others(scenes[swapped]), self.language)),
            (soup, keyword_soup(scenes[soup], self.language)),
        ):
            for row, line in zip(rows, wrong, strict=True):
                lines[row] = line
        return lines, {"noise": torch.from_numpy(kinds)}

    def _others(self, scenes: Scenes) -> Scenes:
        """Another scene of the stream for each of `scenes`, never one with the same content."""
        attempt = np.zeros(len(scenes), np.int64)
        while True:
            other = self.scenes(below(bits(scenes.key, "other scene", attempt=attempt), 2**31 - 1))
            same = content(other) == content(scenes)
            if not same.any():
                return other
            if attempt.max() > 1000:
                raise ValueError(f"{self.spec} has one scene, so that no caption is wrong; allow more nouns or plates")
            attempt += same
