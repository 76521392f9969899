"""Rules of attention against loops that apply each rule to each pair."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tinyvlm.layers import Mask

CPU = torch.device("cpu")


@st.composite
def cases(draw):
    batch, heads = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    keys = draw(st.integers(1, 6))
    queries = draw(st.integers(1, keys))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    causal = draw(st.booleans())
    prefix = torch.randint(0, keys + 2, (batch,), generator=generator) if causal and draw(st.booleans()) else None
    padding = torch.rand(batch, keys, generator=generator) < 0.6 if draw(st.booleans()) else None
    shape = draw(st.sampled_from([(batch, heads), (batch, 1), (1, 1), (1, heads)]))
    allow = torch.rand(*shape, queries, keys, generator=generator) < 0.6 if draw(st.booleans()) else None
    return batch, heads, queries, keys, Mask(causal, prefix, padding, allow)


@given(cases())
def test_resolve_is_the_conjunction_of_the_rules(case):
    batch, heads, queries, keys, mask = case
    resolved = mask.resolve(queries, keys, CPU)
    nothing_said = not mask.causal and mask.padding is None and mask.allow is None
    assert (resolved is None) == nothing_said
    if resolved is None:
        return
    assert resolved.dtype == torch.bool
    whole = resolved.expand(batch, heads, queries, keys)
    allow = None if mask.allow is None else mask.allow.expand(batch, heads, queries, keys)
    for b in range(batch):
        for h in range(heads):
            for i in range(queries):
                for j in range(keys):
                    expected = True
                    if mask.causal:
                        # The queries are the last positions of the keys.
                        expected = j <= i + (keys - queries) or (mask.prefix is not None and j < int(mask.prefix[b]))
                    if mask.padding is not None and not mask.padding[b, j]:
                        expected = False
                    if allow is not None and not allow[b, h, i, j]:
                        expected = False
                    assert bool(whole[b, h, i, j]) == expected, (b, h, i, j)


@given(cases(), st.integers(0, 10_000))
def test_rows_of_unlike_length_see_their_own_keys_only(case, seed):
    """Row b has starts[b] + queries keys; for them the rules are those of that row alone."""
    batch, heads, queries, keys, mask = case
    starts = torch.randint(0, keys - queries + 1, (batch,), generator=torch.Generator().manual_seed(seed))
    whole = mask.resolve(queries, keys, CPU, starts).expand(batch, heads, queries, keys)
    for b in range(batch):
        held = int(starts[b]) + queries
        alone = Mask(
            mask.causal,
            None if mask.prefix is None else mask.prefix[b : b + 1],
            None if mask.padding is None else mask.padding[b : b + 1, :held],
            None if mask.allow is None else mask.allow.expand(batch, heads, queries, keys)[b : b + 1, ..., :held],
        ).resolve(queries, held, CPU)
        expected = torch.ones(1, heads, queries, held, dtype=torch.bool) if alone is None else alone
        assert torch.equal(whole[b : b + 1, ..., :held], expected.expand(1, heads, queries, held))
        assert not whole[b, ..., held:].any()


def test_only_causal_is_exactly_the_bare_triangle():
    assert Mask(causal=True).only_causal
    assert not Mask().only_causal
    assert not Mask(causal=True, prefix=torch.tensor([0])).only_causal
    assert not Mask(causal=True, padding=torch.ones(1, 1, dtype=torch.bool)).only_causal
    assert not Mask(causal=True, allow=torch.ones(1, 1, 1, 1, dtype=torch.bool)).only_causal


def test_more_queries_than_keys_leaves_the_first_with_nothing():
    assert Mask(causal=True).resolve(3, 1, CPU).flatten().tolist() == [False, False, True]


def test_a_prefix_without_the_causal_rule_is_refused():
    with pytest.raises(ValueError, match="needs causal=True"):
        Mask(prefix=torch.tensor([1])).resolve(2, 2, CPU)


def test_padding_of_another_length_names_both():
    with pytest.raises(ValueError, match="padding covers 3 keys but there are 4"):
        Mask(padding=torch.ones(1, 3, dtype=torch.bool)).resolve(2, 4, CPU)
