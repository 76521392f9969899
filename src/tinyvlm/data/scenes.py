"""Scenes of the emoji world: which noun stands where, on which plate, before which background.

A scene is a pure function of (spec, split, seed, index), bit for bit, whatever batch it is drawn in. What belongs
to which split is decided by the scene's content alone, never by its seed:

- `train` and `val` share the seen nouns; a hash of the content sends one scene in eight to `val`;
- `compositional` scenes hold at least one pair of nouns, from a tenth of all pairs, that meet in no other split;
- `novel` scenes hold only nouns that occur in no other split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.hashing import Bits, below, bits, chance, mix, scene_keys
from tinyvlm.data.words import BACKGROUNDS, COLOURS

SPLITS: tuple[str, ...] = ("train", "val", "compositional", "novel")
EMPTY = -1
SMALL, LARGE = 0, 1

_VAL_SHARE = 8  # one content in eight is validation
_PAIR_SHARE = 10  # one pair of nouns in ten is held out for the compositional split
_ATTEMPTS = 1024  # redraws before a spec is called impossible
# All orders of the four cells; a scene of n objects takes the first n of one. And the ordered neighbours.
_ORDERS = np.array(
    [(a, b, c, 6 - a - b - c) for a in range(4) for b in range(4) for c in range(4) if len({a, b, c}) == 3],
    dtype=np.int64,
)
_NEIGHBOURS = np.array([(0, 1), (1, 0), (2, 3), (3, 2), (0, 2), (2, 0), (1, 3), (3, 1)], dtype=np.int64)


@dataclass(frozen=True)
class SceneSpec:
    """What scenes are made of.

    objects: fewest and most different objects, within 1 to 4. plates: plate colours, 1 to 8. backgrounds: 1 to 8.
    nouns: only the first n of the seen nouns (None: all). repeats: share of scenes that show 2 to 4 copies of one
    noun, captioned by number. relations: share of scenes with two neighbours, captioned by their relation.
    sizes: objects are small or large (else all large). jitter: each sprite moves by up to so many pixels of a
    48-pixel picture, each way.
    """

    objects: tuple[int, int] = (1, 4)
    plates: int = 4
    backgrounds: int = 2
    nouns: int | None = None
    repeats: float = 0.0
    relations: float = 0.0
    sizes: bool = False
    jitter: int = 0

    def __post_init__(self) -> None:
        low, high = self.objects
        if not 1 <= low <= high <= 4:
            raise ValueError(f"objects={self.objects}: a scene has 1 to 4 objects; use (fewest, most) within that")
        for name, count, most in (
            ("plates", self.plates, len(COLOURS)),
            ("backgrounds", self.backgrounds, len(BACKGROUNDS)),
        ):
            if not 1 <= count <= most:
                raise ValueError(f"{name}={count}: the emoji world has 1 to {most} of them; choose within that")
        if self.nouns is not None and self.nouns < 1:
            raise ValueError(f"nouns={self.nouns}: at least one noun is needed; use None for all of them")
        if min(self.repeats, self.relations) < 0 or self.repeats + self.relations > 1:
            raise ValueError(
                f"repeats={self.repeats} and relations={self.relations}: these are shares of all scenes; "
                "use numbers from 0 to 1 that add up to at most 1"
            )
        if not 0 <= self.jitter <= 6:
            raise ValueError(f"jitter={self.jitter}: a sprite can move 0 to 6 pixels; choose within that")


@dataclass(frozen=True)
class Scenes:
    """B scenes as a struct of arrays; cell 0 is top left, 1 top right, 2 bottom left, 3 bottom right.

    noun int16 [B,4], -1 where a cell is empty; plate, size int8 [B,4] (0 in empty cells; size 0 small, 1 large);
    background int8 [B]; shift int8 [B,4,2]: the sprite's (down, right) offset at 48 px; subject int8 [B]: the cell
    of the object a relational caption speaks of, -1 where the caption names places or a number; key uint64 [B]:
    the scene's identity, from which phrasing, changes and questions are drawn.
    """

    noun: NDArray[np.int16]
    plate: NDArray[np.int8]
    size: NDArray[np.int8]
    background: NDArray[np.int8]
    shift: NDArray[np.int8]
    subject: NDArray[np.int8]
    key: Bits
    spec: SceneSpec
    split: str

    def __len__(self) -> int:
        return len(self.background)

    def __getitem__(self, rows: NDArray | slice | Sequence[int]) -> Scenes:
        """The scenes at `rows` (a slice, indices or a mask), still as a batch."""
        select = rows if isinstance(rows, slice) else np.asarray(rows)
        if not isinstance(select, slice) and select.ndim != 1:
            raise ValueError(f"scenes are selected with rows of shape {select.shape}; give a slice or a list of rows")
        arrays = {f.name: getattr(self, f.name)[select] for f in fields(self) if f.name not in ("spec", "split")}
        return replace(self, **arrays)

    @property
    def count(self) -> NDArray[np.int64]:
        """Objects in each scene, int64 [B]."""
        return (self.noun >= 0).sum(1)

    @property
    def repeated(self) -> NDArray[np.bool_]:
        """True where a scene shows copies of one noun, bool [B]."""
        return (self.count > 1) & ((self.noun == self.noun.max(1, keepdims=True)) | (self.noun < 0)).all(1)


def pool(spec: SceneSpec, split: str) -> NDArray[np.int64]:
    """Noun ids that scenes of this spec and split may show, int64 [n].

    Raises ValueError for an unknown split and for a spec that asks for more nouns than there are.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    table = load_emoji()
    ids = table.novel if split == "novel" else table.seen
    if spec.nouns is not None and split != "novel":
        if spec.nouns > len(ids):
            raise ValueError(f"nouns={spec.nouns}: split {split!r} has {len(ids)} nouns; ask for at most so many")
        ids = ids[: spec.nouns]
    most = max(spec.objects[1], 2 if spec.relations else 1)
    if len(ids) < most:
        raise ValueError(f"{len(ids)} nouns cannot fill scenes of {most} different objects; raise `nouns`")
    return np.array(ids, dtype=np.int64)


@lru_cache(maxsize=1)
def held_out_pairs() -> NDArray[np.bool_]:
    """Which pairs of nouns meet only in the compositional split: bool [nouns, nouns], symmetric, diagonal False."""
    noun = np.arange(len(load_emoji().nouns), dtype=np.uint64)
    low, high = np.minimum(noun[:, None], noun), np.maximum(noun[:, None], noun)
    table = below(mix(low * np.uint64(65536) + high), _PAIR_SHARE) == 0
    np.fill_diagonal(table, False)
    table.setflags(write=False)
    return table


def has_held_out_pair(noun: NDArray) -> NDArray[np.bool_]:
    """True where nouns [..., 4] (-1: none) contain a held-out pair, bool [...]."""
    table = held_out_pairs()
    found = np.zeros(noun.shape[:-1], dtype=bool)
    for a in range(3):
        for b in range(a + 1, 4):
            first, second = noun[..., a], noun[..., b]
            found |= table[first, second] & (first >= 0) & (second >= 0)
    return found


def content(scenes: Scenes) -> Bits:
    """What the captions of scenes say, as one number each: uint64 [B], equal if and only if all facts are equal.

    A scene with copies of one noun is described by its number, so that their cells do not count.
    """
    many, here = scenes.repeated, scenes.noun >= 0
    order = np.where(many[:, None], np.argsort(~here, axis=1, kind="stable"), np.arange(4))
    packed = scenes.background.astype(np.uint64)
    for values, base in ((scenes.noun + 1, 1024), (scenes.plate, 8), (scenes.size, 2)):
        for column in np.take_along_axis(np.where(here, values, 0), order, 1).T:
            packed = packed * np.uint64(base) + column.astype(np.uint64)
    return packed


def belongs(scenes: Scenes) -> NDArray[np.bool_]:
    """True where a scene may stand in its split by the rules on pairs and on content, bool [B]."""
    pairs = has_held_out_pair(scenes.noun)
    if scenes.split == "compositional":
        return pairs
    if scenes.split == "novel":
        return ~pairs
    in_val = below(mix(content(scenes)), _VAL_SHARE) == 0
    return ~pairs & (in_val if scenes.split == "val" else ~in_val)


def sample_scenes(spec: SceneSpec, split: str, seed: int, indices: ArrayLike) -> Scenes:
    """The scenes `indices` (int [B]) of stream `seed` in `split`.

    Scenes that the split's rules refuse are drawn again under the next attempt number, each on its own. The
    compositional split has at least two objects in every scene and no copies. Raises ValueError for an unknown
    split, a negative index, and a spec for which no scene can be found.
    """
    ids, keys = pool(spec, split), scene_keys(seed, indices)
    if split == "compositional" and (spec.objects[1] < 2 or not held_out_pairs()[np.ix_(ids, ids)].any()):
        raise ValueError(
            f"the compositional split needs two objects a scene and a held-out pair among its {len(ids)} nouns; "
            "raise `objects` or `nouns`"
        )
    scenes = _draw(spec, split, ids, keys, 0)
    pending = np.flatnonzero(~belongs(scenes))
    attempt, width = 1, 1
    while len(pending):
        if attempt > _ATTEMPTS:
            raise ValueError(
                f"no {split} scene in {_ATTEMPTS} attempts with {len(ids)} nouns and {spec}; raise `nouns` or `plates`"
            )
        # Several attempts side by side: the first that belongs is the one that a loop over attempts would find.
        tries = _draw(
            spec,
            split,
            ids,
            np.repeat(keys[pending], width),
            np.tile(np.arange(attempt, attempt + width), len(pending)),
        )
        good = belongs(tries).reshape(len(pending), width)
        solved = good.any(1)
        source = np.flatnonzero(solved) * width + good.argmax(1)[solved]
        for field in fields(Scenes):
            if field.name not in ("spec", "split"):
                getattr(scenes, field.name)[pending[solved]] = getattr(tries, field.name)[source]
        pending = pending[~solved]
        attempt, width = attempt + width, min(4 * width, 64)
    return scenes


def _draw(spec: SceneSpec, split: str, ids: NDArray, keys: Bits, attempt: ArrayLike) -> Scenes:
    """One attempt at each scene. Kind and number of objects do not depend on the attempt, so that the rules of a
    split leave their frequencies alone."""
    rows = np.arange(len(keys))
    kind = bits(keys, "kind")
    many = chance(kind, spec.repeats) & (split != "compositional")
    relational = ~many & chance(kind, spec.repeats + spec.relations)
    low, high = max(spec.objects[0], 2 if split == "compositional" else 1), spec.objects[1]
    count = low + below(bits(keys, "objects"), high - low + 1)
    count = np.where(many, 2 + below(bits(keys, "copies"), 3), np.where(relational, 2, count))

    cells = _ORDERS[below(bits(keys, "cells", attempt=attempt), len(_ORDERS))]
    if spec.relations:
        pair = _NEIGHBOURS[below(bits(keys, "neighbours", attempt=attempt), len(_NEIGHBOURS))]
        cells[:, :2] = np.where(relational[:, None], pair, cells[:, :2])
    noun = _distinct(ids, bits(keys, "noun", 4, attempt), count)
    plate = below(bits(keys, "plate", 4, attempt), spec.plates)
    size = below(bits(keys, "size", 4, attempt), 2) if spec.sizes else np.full((len(keys), 4), LARGE)
    for values in (noun, plate, size) if spec.repeats else ():
        values[:] = np.where(many[:, None], values[:, :1], values)

    out = Scenes(
        noun=np.full((len(keys), 4), EMPTY, np.int16),
        plate=np.zeros((len(keys), 4), np.int8),
        size=np.zeros((len(keys), 4), np.int8),
        background=below(bits(keys, "background", attempt=attempt), spec.backgrounds).astype(np.int8),
        shift=np.zeros((len(keys), 4, 2), np.int8),
        subject=np.where(relational, cells[:, 0], -1).astype(np.int8),
        key=keys.copy(),
        spec=spec,
        split=split,
    )
    for k in range(4):
        row = rows[count > k]
        cell = cells[row, k]
        out.noun[row, cell], out.plate[row, cell], out.size[row, cell] = noun[row, k], plate[row, k], size[row, k]
    if spec.jitter:
        moves = below(bits(keys, "shift", 8, attempt), 2 * spec.jitter + 1) - spec.jitter
        out.shift[:] = moves.reshape(-1, 4, 2) * (out.noun >= 0)[..., None]
    return out


def _distinct(ids: NDArray, random: Bits, count: NDArray) -> NDArray[np.int64]:
    """Four different entries of `ids` a row, int64 [B,4]: the k-th draw skips, in order, what is already taken."""
    taken: list[NDArray] = []
    for k in range(min(4, len(ids))):
        draw = below(random[:, k], len(ids) - k)
        for earlier in np.sort(np.stack(taken, 1), 1).T if taken else ():
            draw += draw >= earlier
        taken.append(draw)
    chosen = ids[np.stack(taken, 1)]
    return np.concatenate([chosen, np.repeat(chosen[:, :1], 4 - chosen.shape[1], 1)], 1)
