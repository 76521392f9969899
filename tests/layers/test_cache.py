"""The memory of keys and values."""

import pytest
import torch

from tinyvlm.layers import KVCache


def piece(n: int, start: int = 0) -> torch.Tensor:
    """[batch 2, heads 1, n, width 1], every entry telling its row and position."""
    return (100 * torch.arange(2.0)[:, None] + torch.arange(start, start + n))[:, None, :, None]


def test_append_returns_all_positions_so_far():
    cache = KVCache(5)
    keys, values = cache.append(piece(2), -piece(2))
    assert torch.equal(keys, piece(2)) and torch.equal(values, -piece(2))
    keys, values = cache.append(piece(3, 2), -piece(3, 2))
    assert torch.equal(keys, piece(5)) and torch.equal(values, -piece(5)) and cache.length == 5


def test_overflow_names_both_numbers_and_keeps_what_was_stored():
    cache = KVCache(3)
    cache.append(piece(2), piece(2))
    with pytest.raises(ValueError, match="4 positions do not fit its capacity of 3"):
        cache.append(piece(2), piece(2))
    assert cache.length == 2 and torch.equal(cache.read()[0], piece(2))


def test_storage_is_taken_once():
    cache = KVCache(4)
    first = cache.append(piece(1), piece(1))[0]
    assert cache.append(piece(1, 1), piece(1, 1))[0].data_ptr() == first.data_ptr()


def test_reorder_copies_rows():
    cache = KVCache(4)
    cache.append(piece(2), -piece(2))
    cache.reorder(torch.tensor([1, 1, 0]))
    keys, values = cache.read()
    assert torch.equal(keys, piece(2)[[1, 1, 0]]) and torch.equal(values, -piece(2)[[1, 1, 0]])
    keys, _ = cache.append(torch.zeros(3, 1, 1, 1), torch.zeros(3, 1, 1, 1))
    assert keys.shape == (3, 1, 3, 1)
    empty = KVCache(2)
    empty.reorder(torch.tensor([0]))
    assert empty.length == 0


def test_only_a_filled_static_cache_is_ready():
    growing, static = KVCache(2), KVCache(2, static=True)
    assert not growing.ready and not static.ready
    for cache in (growing, static):
        cache.append(piece(1), piece(1))
    assert static.ready and not growing.ready


def test_reading_an_empty_cache_and_impossible_capacities():
    with pytest.raises(ValueError, match="nothing stored yet"):
        KVCache(2).read()
    with pytest.raises(ValueError, match="capacity is 0"):
        KVCache(0)


def test_rows_of_unlike_length_go_on_where_each_ended():
    cache = KVCache(6)
    cache.append(piece(4), -piece(4))
    assert cache.start == 4 and cache.lengths is None
    cache.keep(torch.tensor([3, 1]))
    assert cache.length == 3 and cache.start.tolist() == [3, 1]
    keys, values = cache.append(piece(2, 10), -piece(2, 10))
    assert keys.shape == (2, 1, 5, 1) and cache.start.tolist() == [5, 3]
    assert keys[0].flatten().tolist() == [0, 1, 2, 10, 11] and keys[1].flatten().tolist()[:3] == [100, 110, 111]
    assert torch.equal(values[0], -keys[0]) and torch.equal(values[1, :, :3], -keys[1, :, :3])
    cache.reorder(torch.tensor([1, 1]))
    assert cache.start.tolist() == [3, 3]
    with pytest.raises(ValueError, match="7 positions do not fit its capacity of 6"):
        cache.append(piece(2), piece(2))


def test_what_stands_behind_a_short_row_is_a_number():
    """A masked key has weight 0, and 0 times what was never written must not be NaN."""
    cache = KVCache(5)
    cache.append(piece(1), piece(1))
    cache.keep(torch.tensor([1, 0]))
    keys, values = cache.append(piece(3), piece(3))
    assert keys[1, :, 3:].numel() == 1 and torch.isfinite(keys).all() and torch.isfinite(values).all()


def test_more_than_is_stored_cannot_be_kept():
    cache = KVCache(5)
    cache.append(piece(2), piece(2))
    with pytest.raises(ValueError, match="3 positions are to be kept of 2 stored"):
        cache.keep(torch.tensor([3, 1]))
    assert cache.length == 2 and cache.lengths is None
