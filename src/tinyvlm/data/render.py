"""Scenes as pictures: a background, up to four plates with round corners, a sprite on each.

Everything is integer arithmetic, so that a picture is the same on every machine. At 48 pixels a cell is 24 pixels,
so that cells fall on 2 x 2 patches of 12; a plate fills its cell up to its round corners, and a sprite is 22 pixels
(small: 14), centred. Other sizes scale these numbers.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.scenes import Scenes
from tinyvlm.data.words import BACKGROUND_RGB, COLOUR_RGB

Pixels = NDArray[np.uint8]

LEAST, MOST = 16, 512  # picture sizes
_SPRITE_SHARE = {0: 14 / 24, 1: 22 / 24}  # of a cell's side, by size id
_CORNER_SHARE = 1 / 3  # radius of a plate's corners, of a cell's side: all cells show some background


def check_size(size: int) -> None:
    """Raises ValueError unless pictures of `size` pixels a side can be drawn."""
    if size % 2 or not LEAST <= size <= MOST:
        raise ValueError(f"picture size {size}: pictures are even and {LEAST} to {MOST} pixels a side; use e.g. 48")


def over(colour: NDArray, base: NDArray, alpha: NDArray) -> Pixels:
    """`colour` laid over `base`, both uint8, with `alpha` 0 to 255: (a c + (255 - a) b) / 255, rounded; broadcasts."""
    a = alpha.astype(np.uint16)
    return _divide(a * colour + (255 - a) * base)


def _divide(sums: NDArray[np.uint16]) -> Pixels:
    return ((sums + np.uint16(127)) // np.uint16(255)).astype(np.uint8)


def sprite_side(cell: int, size_id: int) -> int:
    """Side in pixels of a small (0) or large (1) sprite in a cell of `cell` pixels."""
    return max(1, round(cell * _SPRITE_SHARE[size_id]))


@lru_cache(maxsize=8)
def plate_alpha(cell: int) -> Pixels:
    """How much of each pixel of a cell a plate covers, uint8 [cell, cell]: 8 x 8 samples a pixel."""
    samples = 8
    radius = round(cell * samples * _CORNER_SHARE)
    # Twice the distance from the middle, in samples, so that sample centres are integers.
    offset = np.abs(2 * np.arange(cell * samples) + 1 - cell * samples)
    beyond = np.maximum(offset - (cell * samples - 2 * radius), 0)
    inside = beyond[:, None] ** 2 + beyond**2 <= (2 * radius) ** 2
    covered = inside.reshape(cell, samples, cell, samples).sum((1, 3))
    return (covered * 255 // samples**2).astype(np.uint8)


@lru_cache(maxsize=8)
def plates(cell: int) -> Pixels:
    """Every plate colour over every background, uint8 [colours, backgrounds, 3, cell, cell]."""
    colour = np.array(COLOUR_RGB, np.uint8)[:, None, :, None, None]
    background = np.array(BACKGROUND_RGB, np.uint8)[None, :, :, None, None]
    return over(colour, background, plate_alpha(cell))


@lru_cache(maxsize=4)
def cell_sprites(cell: int) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Sprites centred in a cell, as (alpha x colour uint16 [2, nouns, 3, cell, cell], 255 - alpha [2, nouns, 1, ...]),
    first axis small and large."""
    colours, rests = [], []
    for size_id in (0, 1):
        side = sprite_side(cell, size_id)
        sprites = load_emoji().noun_sprites(side).astype(np.uint16).transpose(0, 3, 1, 2)
        top = (cell - side) // 2
        padded = np.zeros((len(sprites), 4, cell, cell), np.uint16)
        padded[:, :, top : top + side, top : top + side] = sprites
        colours.append(padded[:, :3] * padded[:, 3:])
        rests.append(255 - padded[:, 3:])
    return np.stack(colours), np.stack(rests)


def render(scenes: Scenes, size: int = 48) -> torch.Tensor:
    """Pictures of scenes: uint8 [B, 3, size, size], RGB.

    Raises ValueError for an odd size or one outside 16 to 512 pixels.
    """
    check_size(size)
    cell, batch = size // 2, len(scenes)
    background = np.array(BACKGROUND_RGB, np.uint8)[scenes.background]
    canvas = np.empty((batch, 3, 2, cell, 2, cell), np.uint8)
    canvas[:] = background[:, :, None, None, None, None]

    row, place = np.nonzero(scenes.noun >= 0)
    base = plates(cell)[scenes.plate[row, place], scenes.background[row]]
    colour, rest = cell_sprites(cell)
    which = scenes.size[row, place], scenes.noun[row, place]
    colour, rest = colour[which], rest[which]
    if scenes.spec.jitter:
        colour, rest = shift_tiles(colour, rest, moves(scenes, size)[row, place])
    # Advanced indices around slices put the chosen axis first: [objects, 3, cell, cell], as the tiles are.
    canvas[row, :, place // 2, :, place % 2] = _divide(colour + rest * base)
    return torch.from_numpy(canvas.reshape(batch, 3, size, size))


def moves(scenes: Scenes, size: int) -> NDArray[np.int64]:
    """How far each sprite is moved in pictures of `size`, in pixels (down, right): int64 [B, 4, 2]."""
    shift = scenes.shift.astype(np.int64)
    return np.sign(shift) * (np.abs(shift) * size // 48)


def shift_tiles(colour: NDArray, rest: NDArray, move: NDArray) -> tuple[NDArray, NDArray]:
    """`cell_sprites` of n objects, moved by `move` [n, 2] (down, right); what leaves the cell is cut off."""
    n, cell = len(colour), colour.shape[-1]
    axis = np.arange(cell)
    down, right = axis - move[:, :1], axis - move[:, 1:]
    seen = ((down >= 0) & (down < cell))[:, None, :, None] & ((right >= 0) & (right < cell))[:, None, None, :]
    item = np.arange(n)[:, None, None, None]
    at = (
        item,
        np.arange(3)[None, :, None, None],
        down.clip(0, cell - 1)[:, None, :, None],
        right.clip(0, cell - 1)[:, None, None, :],
    )
    moved = np.where(seen, colour[at], 0).astype(np.uint16)
    left = np.where(seen, rest[(at[0], np.zeros_like(at[1][:, :1]), *at[2:])], 255).astype(np.uint16)
    return moved, left
