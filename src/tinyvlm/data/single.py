"""One emoji a picture, augmented: for classification, masked image modelling, tokenizers and clustering.

A picture is a sprite of one of four sizes, mirrored or not, somewhere on one of the pale backgrounds; all of it
integers drawn from (seed, index). `train` and `val` show the same emoji and never the same picture.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.hashing import Bits, below, bits, mix, scene_keys
from tinyvlm.data.render import check_size, over
from tinyvlm.data.views import Batch, View, as_indices
from tinyvlm.data.words import BACKGROUND_RGB

KINDS: tuple[str, ...] = ("nouns", "all")
SINGLE_SPLITS: tuple[str, ...] = ("train", "val", "novel")

_SCALES = (0.58, 0.71, 0.83, 0.96)  # sprite side as a share of the picture's
_VAL_SHARE = 8
_BASES = (4096, 1024, 1024, 1024, 2, 8)  # bounds of what is drawn, so that a picture has one number


class Singles(View):
    """Pictures of one emoji with its labels.

    split: train, val (the same emoji, other pictures) or novel (the emoji of no other split). kind: "nouns", the
    curated ones, labelled by noun id; or "all" emoji, labelled by emoji id, of which the novel nouns are `novel`.
    augment=False centres every sprite at its largest size, unmirrored, on the first background. nouns: only the first n
    of the split's nouns (None: all); those of train and val are labelled 0 to n - 1.

    Raises ValueError for an unknown split or kind, for a size that cannot be drawn and for nouns that are not there.
    """

    def __init__(
        self,
        split: str = "train",
        seed: int = 0,
        size: int = 48,
        kind: str = "nouns",
        augment: bool = True,
        nouns: int | None = None,
    ) -> None:
        if split not in SINGLE_SPLITS:
            raise ValueError(
                f"unknown split {split!r} for single emoji, which hold no pairs: choose one of "
                f"{', '.join(SINGLE_SPLITS)}"
            )
        if kind not in KINDS:
            raise ValueError(f"unknown kind {kind!r}: choose one of {', '.join(KINDS)}")
        check_size(size)
        self.split, self.seed, self.size, self.kind, self.augment = split, seed, size, kind, augment
        self.nouns = nouns
        if nouns is not None and (kind != "nouns" or not 1 <= nouns <= len(self._nouns)):
            raise ValueError(
                f"nouns={nouns} of kind {kind!r}: choose 1 to {len(self._nouns)} of the kind 'nouns' in split {split!r}"
            )

    @property
    def _nouns(self) -> tuple[int, ...]:
        """Noun ids of the split."""
        table = load_emoji()
        return table.novel if self.split == "novel" else table.seen

    @cached_property
    def members(self) -> NDArray[np.int64]:
        """Emoji ids that the view shows, int64 [n]."""
        table = load_emoji()
        novel = {table.nouns[i].id for i in table.novel}
        if self.split == "novel" or self.kind == "nouns":
            return np.array([table.nouns[i].id for i in self._nouns[: self.nouns]])
        return np.array([emoji.id for emoji in table.emoji if emoji.id not in novel])

    @cached_property
    def label_names(self) -> tuple[str, ...]:
        """English word for each label: nouns by noun id, or names by emoji id."""
        table = load_emoji()
        return table.names("en") if self.kind == "nouns" else tuple(emoji.names["en"] for emoji in table.emoji)

    @cached_property
    def group_names(self) -> tuple[str, ...]:
        """Unicode's groups, in their order; the label `group` counts these."""
        return tuple(dict.fromkeys(emoji.group for emoji in load_emoji().emoji))

    @cached_property
    def subgroup_names(self) -> tuple[str, ...]:
        """Unicode's subgroups, in their order; the label `subgroup` counts these."""
        return tuple(dict.fromkeys(emoji.subgroup for emoji in load_emoji().emoji))

    @cached_property
    def _labels(self) -> NDArray[np.int64]:
        """label, group and subgroup by emoji id: int64 [emoji, 3]; label -1 for what is no noun of a nouns view."""
        table = load_emoji()
        noun_id = {emoji.id: i for i, emoji in enumerate(table.nouns)}
        groups = {name: i for i, name in enumerate(self.group_names)}
        subgroups = {name: i for i, name in enumerate(self.subgroup_names)}
        return np.array(
            [
                (noun_id.get(e.id, -1) if self.kind == "nouns" else e.id, groups[e.group], subgroups[e.subgroup])
                for e in table.emoji
            ]
        )

    def batch(self, indices: ArrayLike) -> Batch:
        """image uint8 [B,3,size,size]; label, group, subgroup, index int64 [B]."""
        index = as_indices(indices)
        drawn = self._draw(scene_keys(self.seed, index))
        labels = torch.from_numpy(self._labels[drawn[:, 0]])
        return {
            "image": self._render(drawn),
            "label": labels[:, 0].clone(),
            "group": labels[:, 1].clone(),
            "subgroup": labels[:, 2].clone(),
            "index": torch.from_numpy(index),
        }

    def show(self, nouns: ArrayLike, indices: ArrayLike) -> torch.Tensor:
        """Pictures of given nouns (noun ids, int [B]), augmented by index: uint8 [B,3,size,size]."""
        ids = np.array([emoji.id for emoji in load_emoji().nouns])[as_indices(nouns)]
        return self._render(self._draw(scene_keys(self.seed, as_indices(indices)), ids))

    def _render(self, drawn: NDArray[np.int64]) -> torch.Tensor:
        image = np.empty((len(drawn), 3, self.size, self.size), np.uint8)
        table, colours = load_emoji(), np.array(BACKGROUND_RGB, np.uint8)
        for picture, (emoji, side, top, left, mirrored, background) in zip(image, drawn.tolist(), strict=True):
            sprite = table.sprite(emoji, side).transpose(2, 0, 1)[:, :, :: -1 if mirrored else 1]
            ground = colours[background][:, None, None]
            picture[:] = ground
            picture[:, top : top + side, left : left + side] = over(sprite[:3], ground, sprite[3:])
        return torch.from_numpy(image)

    def _draw(self, keys: Bits, emoji: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Emoji id, side, top, left, mirrored, background: int64 [B, 6], redrawn until the picture is the split's."""
        if emoji is None:
            emoji = self.members[below(bits(keys, "emoji"), len(self.members))]
        drawn = self._attempt(keys, emoji, 0)
        pending = np.arange(len(keys))
        attempt = 0
        while self.augment and self.split != "novel":
            code = np.zeros(len(pending), np.uint64)
            for column, base in zip(drawn[pending].T, _BASES, strict=True):
                code = code * np.uint64(base) + column.astype(np.uint64)
            in_val = below(mix(code), _VAL_SHARE) == 0
            pending = pending[in_val != (self.split == "val")]
            if not len(pending):
                break
            attempt += 1
            drawn[pending] = self._attempt(keys[pending], emoji[pending], attempt)
        return drawn

    def _attempt(self, keys: Bits, emoji: NDArray[np.int64], attempt: int) -> NDArray[np.int64]:
        sides = np.array([round(share * self.size) for share in _SCALES])
        random = bits(keys, "augment", 5, attempt)
        if not self.augment:
            side = np.full(len(keys), sides[-1])
            edge = (self.size - side) // 2
            return np.stack([emoji, side, edge, edge, 0 * side, 0 * side], 1)
        side = sides[below(random[:, 0], len(sides))]
        top, left = (below(random[:, lane], self.size - side + 1) for lane in (1, 2))
        return np.stack([emoji, side, top, left, below(random[:, 3], 2), below(random[:, 4], len(BACKGROUND_RGB))], 1)
