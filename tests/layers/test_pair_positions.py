"""Relative positions of words, patches and both: each pair of tokens against what its offset says."""

import pytest
import torch
from torch import nn

from tinyvlm.layers import RelativePositions
from tinyvlm.layers.pair_positions import PairPositions


def kind(query: int, key: int, words: int, side: int) -> tuple:
    """What a pair of tokens is, told by hand: texts first, then a picture; either begins with its class token."""
    if query < words <= key:
        return ("words to patches",)
    if key < words <= query:
        return ("patches to words",)
    if query >= words:
        one, other = query - words - 1, key - words - 1
        if one < 0 or other < 0:
            return ("picture, class", one < 0, other < 0)
        return ("picture", one // side - other // side, one % side - other % side)
    if query == 0 or key == 0:
        return ("text, class", query == 0, key == 0)
    return ("text", key - query)


@pytest.mark.parametrize(("words", "side"), [(7, 2), (5, 3), (2, 1)])
def test_pairs_share_a_row_where_they_are_of_one_kind_and_else_do_not(words, side):
    index = PairPositions(side, 7, heads=2, layers=3).index(words, image=True)
    n = words + side * side + 1
    assert index.shape == (n, n)
    rows: dict[tuple, set[int]] = {}
    for query in range(n):
        for key in range(n):
            rows.setdefault(kind(query, key, words, side), set()).add(int(index[query, key]))
    assert all(len(found) == 1 for found in rows.values())
    assert len(set.union(*rows.values())) == len(rows)


def test_a_full_text_and_picture_use_every_row_of_the_table_once_at_least():
    relative = PairPositions(3, 6, heads=2, layers=2)
    used = relative.index(6, image=True).unique()
    assert torch.equal(used, torch.arange(len(relative.table))) and len(used) == 25 + 3 + 2 + 12
    assert PairPositions(14, 196, heads=1, layers=1).table.shape == (1126, 1)
    assert (relative.table == 0).all()


def test_a_part_alone_has_the_bias_that_it_has_in_the_pair():
    """A text of any length, and a picture, whose rows are those of BEiT's table."""
    relative = PairPositions(2, 9, heads=2, layers=3)
    nn.init.normal_(relative.table)
    both = relative(6, image=True)
    assert both.shape == (3, 1, 2, 11, 11)
    torch.testing.assert_close(relative(6, image=False), both[..., :6, :6])
    torch.testing.assert_close(relative(4, image=False), both[..., :4, :4])
    torch.testing.assert_close(relative(0, image=True), both[..., 6:, 6:])
    alone = RelativePositions(2, 2)
    for layer in range(3):
        alone.table.data.copy_(relative.table[:12, 2 * layer : 2 * layer + 2])
        torch.testing.assert_close(alone(), relative(0, image=True)[layer])


def test_texts_that_the_table_does_not_reach_are_refused():
    with pytest.raises(ValueError, match="the text has 6 tokens, the table knows 5; shorten it"):
        PairPositions(2, 5, heads=1, layers=1)(6, image=False)
    with pytest.raises(ValueError, match="a text of 1 tokens has no offsets"):
        PairPositions(2, 1, heads=1, layers=1)
