"""Single changes: captions that are false of their picture in exactly one thing.

Each change is made to the scene, and the changed scene is put into words under the phrasing of the true caption, so
that the two captions differ in that one fact and in nothing else. A changed scene stays within its spec (nouns,
plates, backgrounds) and within its split's rule on pairs of nouns: neither caption is the more familiar one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinyvlm.data.captions import captions, choose_phrasing
from tinyvlm.data.hashing import Bits, below, bits
from tinyvlm.data.scenes import EMPTY, Scenes, has_held_out_pair, pool

CHANGES: tuple[str, ...] = (
    "object",
    "plate colour",
    "background",
    "count",
    "relation",
    "objects swapped",
    "colours swapped",
)
# What a reader is shown for a change whose name says too little: nobody counts when an object is left out.
LABELS: dict[str, str] = {change: change for change in CHANGES} | {"count": "one object left out"}

_PAIRS = np.array([(a, b) for a in range(4) for b in range(a + 1, 4)])
_TRIES = 256  # nouns tried before a scene is said not to admit another noun

Admitted = NDArray[np.bool_]


def check_change(change: str) -> None:
    """Raises ValueError unless `change` is one of `CHANGES`."""
    if change not in CHANGES:
        raise ValueError(f"unknown change {change!r}: choose one of {', '.join(CHANGES)}")


def change_scenes(scenes: Scenes, change: str, seed: int = 0) -> tuple[Scenes, Admitted]:
    """B scenes with one thing changed, and for which of them (bool [B]) that was possible; the others stay as they are.

    - "object": one noun becomes another that is not in the scene (all copies, where a scene repeats one)
    - "plate colour": one plate changes its colour (the plates of all copies)
    - "background": another background
    - "count": one object fewer; copies of one noun become another number of copies. Not for relational scenes
    - "relation": the two objects of a relational scene change places, so that only the word for their relation differs
    - "objects swapped": two nouns are exchanged; plates, sizes and places stay
    - "colours swapped": two plates of different colour are exchanged

    Which object, noun, colour or pair is drawn from the scene's key; another `seed` draws anew. Raises ValueError for
    an unknown change.
    """
    check_change(change)
    out = replace(
        scenes,
        noun=scenes.noun.copy(),
        plate=scenes.plate.copy(),
        size=scenes.size.copy(),
        background=scenes.background.copy(),
        subject=scenes.subject.copy(),
    )
    random = bits(scenes.key, f"change {change}", 4, seed=seed)
    make = {
        "object": _object,
        "plate colour": _plate,
        "background": _background,
        "count": _count,
        "relation": _relation,
        "objects swapped": _objects_swapped,
        "colours swapped": _colours_swapped,
    }[change]
    return out, make(out, random)


def changed_captions(
    scenes: Scenes, change: str, seed: int = 0, phrasing: ArrayLike | None = None, language: str = "en"
) -> tuple[list[str], Admitted]:
    """Captions with one thing changed, and which scenes admit the change: (B strings, bool [B]).

    The phrasing is that of `captions(scenes, language, phrasing)`. Where a scene does not admit the change the
    string is empty. Raises ValueError for an unknown change, language or phrasing.
    """
    changed, admitted = change_scenes(scenes, change, seed)
    lines = captions(changed, language, choose_phrasing(scenes, phrasing))
    return [line if good else "" for line, good in zip(lines, admitted.tolist(), strict=True)], admitted


def _nth_cell(noun: NDArray, n: NDArray) -> NDArray[np.int64]:
    """The n-th (from 0) occupied cell of each row, int64 [B]."""
    here = noun >= 0
    return ((here.cumsum(1) == n[:, None] + 1) & here).argmax(1)


def _object(out: Scenes, random: Bits) -> Admitted:
    ids = pool(out.spec, out.split)
    rows, many = np.arange(len(out)), out.repeated
    cell = _nth_cell(out.noun, below(random[:, 0], out.count))
    target = np.where(many[:, None], out.noun >= 0, np.arange(4) == cell[:, None])
    done = np.zeros(len(out), dtype=bool)
    for attempt in range(_TRIES):
        left = rows[~done]
        if not len(left):
            break
        noun = ids[below(bits(random[left, 1], "noun", attempt=attempt), len(ids))]
        new = (out.noun[left] == noun[:, None]).any(1)
        changed = np.where(target[left], noun[:, None], out.noun[left])
        kept = has_held_out_pair(changed) == has_held_out_pair(out.noun[left])
        good = ~new & kept
        out.noun[left[good]] = changed[good]
        done[left[good]] = True
    return done


def _other(random: Bits, current: NDArray, choices: int) -> NDArray[np.int64]:
    """One of 0 .. choices-1 that is not `current`, evenly."""
    draw = below(random, choices - 1)
    return draw + (draw >= current)


def _plate(out: Scenes, random: Bits) -> Admitted:
    if out.spec.plates == 1:
        return np.zeros(len(out), dtype=bool)
    cell = _nth_cell(out.noun, below(random[:, 0], out.count))
    colour = _other(random[:, 1], out.plate[np.arange(len(out)), cell], out.spec.plates)
    target = np.where(out.repeated[:, None], out.noun >= 0, np.arange(4) == cell[:, None])
    out.plate[:] = np.where(target, colour[:, None], out.plate)
    return np.ones(len(out), dtype=bool)


def _background(out: Scenes, random: Bits) -> Admitted:
    if out.spec.backgrounds == 1:
        return np.zeros(len(out), dtype=bool)
    out.background[:] = _other(random[:, 0], out.background, out.spec.backgrounds)
    return np.ones(len(out), dtype=bool)


def _count(out: Scenes, random: Bits) -> Admitted:
    many, count = out.repeated, out.count
    admitted = (count > 1) & (out.subject < 0)
    # Scenes with copies: 2, 3 or 4, so that the sentence stays as it is. Others: without one of their objects.
    wanted = np.where(many, 2 + _other(random[:, 0], np.maximum(count - 2, 0), 3), count - 1)
    first = out.noun.argmax(1)
    for row in np.flatnonzero(admitted):
        here = np.flatnonzero(out.noun[row] >= 0)
        if not many[row]:
            here = here[below(random[row : row + 1, 1], count[row])]
            out.noun[row, here], out.plate[row, here], out.size[row, here] = EMPTY, 0, 0
            continue
        like = out.noun[row, first[row]], out.plate[row, first[row]], out.size[row, first[row]]
        out.noun[row, here[wanted[row] :]], out.plate[row, here[wanted[row] :]] = EMPTY, 0
        out.size[row, here[wanted[row] :]] = 0
        free = np.setdiff1d(np.arange(4), here)[: max(0, wanted[row] - count[row])]
        out.noun[row, free], out.plate[row, free], out.size[row, free] = like
    return admitted


def _relation(out: Scenes, random: Bits) -> Admitted:
    admitted = out.subject >= 0
    row = np.flatnonzero(admitted)
    subject = out.subject[row]
    other = _nth_cell(out.noun[row], (_nth_cell(out.noun[row], np.zeros(len(row), int)) == subject).astype(int))
    for values in (out.noun, out.plate, out.size):
        _exchange(values, row, subject, other)
    out.subject[row] = other
    return admitted


def _objects_swapped(out: Scenes, random: Bits) -> Admitted:
    a, b = out.noun[:, _PAIRS[:, 0]], out.noun[:, _PAIRS[:, 1]]
    return _swap(out.noun, (a >= 0) & (b >= 0) & (a != b), random[:, 0])


def _colours_swapped(out: Scenes, random: Bits) -> Admitted:
    here = (out.noun[:, _PAIRS] >= 0).all(2)
    return _swap(out.plate, here & (out.plate[:, _PAIRS[:, 0]] != out.plate[:, _PAIRS[:, 1]]), random[:, 0])


def _swap(values: NDArray, possible: NDArray[np.bool_], random: Bits) -> Admitted:
    """Exchanges the values of one possible pair of cells a row, each possible pair (bool [B,6]) alike likely."""
    ways = possible.sum(1)
    row = np.flatnonzero(ways)
    nth = below(random[row], ways[row])
    pair = _PAIRS[((possible[row].cumsum(1) == nth[:, None] + 1) & possible[row]).argmax(1)]
    _exchange(values, row, pair[:, 0], pair[:, 1])
    return ways > 0


def _exchange(values: NDArray, row: NDArray, a: NDArray, b: NDArray) -> None:
    values[row, a], values[row, b] = values[row, b].copy(), values[row, a].copy()
