"""Random numbers as a pure function of what they are for.

A generator has a state, so what it returns depends on who asked before. Here every number is the hash of
(seed, index, field, lane, attempt): the same in any order, in any batch, on any machine. The mixing function is
splitmix64's finaliser (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
"""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Bits = NDArray[np.uint64]

_GOLDEN = 0x9E3779B97F4A7C15
_ATTEMPT = 0xD1342543DE82EF95  # odd and large, so that attempts and lanes (small numbers) do not meet
_WORD = (1 << 64) - 1


def mix(x: ArrayLike) -> Bits:
    """splitmix64's finaliser, elementwise on uint64 of any shape: every input bit reaches every output bit."""
    z = np.asarray(x, dtype=np.uint64) + np.uint64(_GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@lru_cache(maxsize=4096)
def _key(field: str, seed: int) -> np.uint64:
    start = np.array([(seed * _GOLDEN + zlib.crc32(field.encode())) & _WORD], dtype=np.uint64)
    return np.uint64(mix(start)[0])


def scene_keys(seed: int, indices: ArrayLike) -> Bits:
    """The identity of the scenes `indices` (int [B]) of stream `seed`: uint64 [B], from which all else is drawn.

    Raises ValueError for an index below 0 or indices that are not a row of integers.
    """
    index = np.asarray(indices)
    if index.ndim != 1 or (index.size and not np.issubdtype(index.dtype, np.integer)):
        raise ValueError(f"indices are {index.dtype} of shape {index.shape}, but must be a row of integers, shape [B]")
    if index.size and index.min() < 0:
        raise ValueError(f"index {index.min()} is negative: scenes are numbered from 0; use an index of 0 or more")
    return mix(index.astype(np.uint64) + _key("scene", seed))


def bits(keys: Bits, field: str, lanes: int | None = None, attempt: ArrayLike = 0, seed: int = 0) -> Bits:
    """64 random bits for each of `keys` (uint64 [B]): shape [B], or [B, lanes].

    `field` names what the bits are for; `attempt` (int, or [B]) numbers redraws of the same field; another `seed`
    draws the field anew.
    """
    first = mix(keys ^ _key(field, seed))
    count = np.asarray(attempt, dtype=np.uint64)
    if count.any():
        # Attempt 0 is the plain hash for each row by itself: what stands beside it in the batch must not matter.
        first = np.where(count > 0, mix(first + count * np.uint64(_ATTEMPT)), first)
    if lanes is None:
        return first
    return mix(first[:, None] ^ np.arange(1, lanes + 1, dtype=np.uint64))


def below(random: Bits, bound: ArrayLike) -> NDArray[np.int64]:
    """Integers in [0, bound) from random bits, by the high half (Lemire's multiply-shift; `bound` < 2**32)."""
    high = random >> np.uint64(32)
    return ((high * np.asarray(bound, dtype=np.uint64)) >> np.uint64(32)).astype(np.int64)


def chance(random: Bits, share: float) -> NDArray[np.bool_]:
    """True for a `share` (0 to 1) of random bits."""
    return (random >> np.uint64(32)) < np.uint64(round(share * 2**32))


def permutation(count: int, field: str, seed: int = 0) -> NDArray[np.int64]:
    """A random order of 0 .. count-1, int64 [count]."""
    return np.argsort(bits(scene_keys(seed, np.arange(count)), field), kind="stable")
