"""Where things are: exact boxes and masks from the sprites' alpha channel, and words that point at one object.

For detection, segmentation and grounding. A pixel belongs to an object where its sprite is at least half opaque.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.facts import each
from tinyvlm.data.render import cell_sprites, check_size, moves, render, shift_tiles
from tinyvlm.data.scenes import Scenes
from tinyvlm.data.views import Batch, as_indices, encode
from tinyvlm.data.words import CELLS, COLOURS
from tinyvlm.data.world import World

VISIBLE = 128  # least alpha of a pixel that counts as the object's
FORMS: tuple[str, ...] = ("noun", "place", "colour")


def instance_masks(scenes: Scenes, size: int = 48) -> torch.Tensor:
    """The visible pixels of the sprite in each cell: bool [B, 4, size, size], all False for empty cells.

    Raises ValueError for a size that cannot be drawn.
    """
    check_size(size)
    cell = size // 2
    colour, rest = cell_sprites(cell)
    masks = np.zeros((len(scenes), 4, 2, cell, 2, cell), bool)
    row, place = np.nonzero(scenes.noun >= 0)
    which = scenes.size[row, place], scenes.noun[row, place]
    seen = rest[which]
    if scenes.spec.jitter:
        _, seen = shift_tiles(colour[which], seen, moves(scenes, size)[row, place])
    masks[row, place, place // 2, :, place % 2] = seen[:, 0] <= 255 - VISIBLE
    return torch.from_numpy(masks.reshape(len(scenes), 4, size, size))


def semantic_mask(scenes: Scenes, size: int = 48) -> torch.Tensor:
    """Noun id + 1 of each pixel, 0 where there is no object: int64 [B, size, size]."""
    return _semantic(scenes, instance_masks(scenes, size))


def _semantic(scenes: Scenes, masks: torch.Tensor) -> torch.Tensor:
    # Every cell has its own quarter of the picture, so that at most one mask is True at a pixel.
    nouns = torch.from_numpy(scenes.noun.astype(np.int16) + 1)
    return (masks * nouns[:, :, None, None]).amax(1).long()


def boxes(scenes: Scenes, size: int = 48) -> torch.Tensor:
    """The smallest box around each sprite's visible pixels: int64 [B, 4, 4] as (left, top, right, bottom), the last
    two exclusive; zeros for empty cells."""
    return mask_boxes(instance_masks(scenes, size))


def mask_boxes(masks: torch.Tensor) -> torch.Tensor:
    """Smallest boxes around masks bool [..., H, W]: int64 [..., 4] as (left, top, right, bottom), exclusive ends."""
    ends = []
    for along in (masks.any(-2), masks.any(-1)):
        length = along.shape[-1]
        first = along.int().argmax(-1)
        last = length - along.flip(-1).int().argmax(-1)
        ends.append((first, torch.where(along.any(-1), last, 0)))
    (left, right), (top, bottom) = ends
    return torch.stack([left, top, right, bottom], -1)


def location_bins(boxes: torch.Tensor, size: int, bins: int = 64) -> torch.Tensor:
    """Box coordinates in pixels as bins 0 .. bins-1 of the tokenizer's <loc_..> tokens: same shape, int64."""
    return (boxes * bins // size).clamp(0, bins - 1)


def referring_expressions(scenes: Scenes) -> list[list[tuple[int, str, str]]]:
    """For each scene, all (cell, form, words) that point at exactly one of its objects.

    By noun ("the dog"), place ("the object at top left") or plate ("the object on red"), in this order.
    """
    nouns = load_emoji().names("en")
    found = []
    for noun, plate in zip(scenes.noun.tolist(), scenes.plate.tolist(), strict=True):
        cells = [k for k in range(4) if noun[k] >= 0]
        here: list[tuple[int, str, str]] = []
        for k in cells:
            if sum(noun[j] == noun[k] for j in cells) == 1:
                here.append((k, "noun", f"the {nouns[noun[k]]}"))
        here += [(k, "place", f"the object at {CELLS[k]}") for k in cells]
        for k in cells:
            if sum(plate[j] == plate[k] for j in cells) == 1:
                here.append((k, "colour", f"the object on {COLOURS[plate[k]]}"))
        found.append(here)
    return found


class Regions(World):
    """Scenes with boxes, masks and a referring expression; made like a `World`."""

    def batch(self, indices: ArrayLike, negatives: object = ()) -> Batch:
        """What `World.batch` holds, where text is a referring expression instead of a caption, and also:

        boxes int64 [B,4,4], labels int64 [B,4] (noun id, -1 for empty cells), masks bool [B,4,S,S], semantic int64
        [B,S,S]; for the expression cell int64 [B], box int64 [B,4], mask bool [B,S,S]. Has no negatives.
        """
        if negatives:
            raise ValueError("referring expressions have no changed captions; take negatives from World")
        index = as_indices(indices)
        scenes = self.scenes(index)
        cell, words = refer(scenes)
        text, text_mask = encode(words, self.context)
        masks, rows, at = instance_masks(scenes, self.size), torch.arange(len(index)), torch.from_numpy(cell)
        around = mask_boxes(masks)
        return {
            "image": render(scenes, self.size),
            "text": text,
            "text_mask": text_mask,
            "index": torch.from_numpy(index),
            "boxes": around,
            "labels": torch.from_numpy(scenes.noun.astype(np.int64)),
            "masks": masks,
            "semantic": _semantic(scenes, masks),
            "cell": at,
            "box": around[rows, at],
            "mask": masks[rows, at],
        }


def refer(scenes: Scenes) -> tuple[NDArray[np.int64], list[str]]:
    """One referring expression a scene, its form drawn evenly from those that the scene admits: cells [B], words."""
    chosen = []
    for facts, options in zip(each(scenes, "referring"), referring_expressions(scenes), strict=True):
        form = facts.one(sorted({form for _, form, _ in options}))
        chosen.append(facts.one([option for option in options if option[1] == form]))
    return np.array([cell for cell, _, _ in chosen], np.int64), [words for _, _, words in chosen]


def template_sentences(language: str = "en", noun: str = "object") -> list[str]:
    """Sentences with every word of referring expressions besides the nouns. English only: empty for others."""
    if language != "en":
        return []
    return [f"the {noun}", *(f"the object at {cell}" for cell in CELLS), *(f"the object on {c}" for c in COLOURS)]
