"""Biases by relative position against transformers' BEiT and T5, and against loops."""

import pytest
import torch
from torch import nn

from tinyvlm.layers import Attention, Mask, RelativeBuckets, RelativePositions


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers", reason="the comparison needs the extra `hub`")


@pytest.mark.parametrize(("side", "heads"), [(1, 2), (2, 1), (3, 4), (5, 2)])
def test_the_bias_of_patches_and_class_token_is_beits(transformers, side, heads):
    sizes = {"hidden_size": 4 * heads, "intermediate_size": 8, "image_size": 4 * side, "patch_size": 4}
    config = transformers.BeitConfig(
        num_attention_heads=heads, num_hidden_layers=1, use_shared_relative_position_bias=True, **sizes
    )
    parts = transformers.BeitModel(config).modules()
    theirs = next(part for part in parts if type(part).__name__ == "BeitRelativePositionBias")
    relative = RelativePositions(side, heads)
    assert relative.table.shape == theirs.relative_position_bias_table.shape == ((2 * side - 1) ** 2 + 3, heads)
    nn.init.normal_(relative.table)
    theirs.relative_position_bias_table.data.copy_(relative.table)
    expected = theirs((side, side))
    torch.testing.assert_close(relative(), expected.reshape(1, heads, side * side + 1, side * side + 1))


def test_without_a_class_token_every_offset_has_its_row():
    side, relative = 3, RelativePositions(3, 2, class_token=False)
    assert relative.table.shape == (25, 2) and (relative.table == 0).all()
    nn.init.normal_(relative.table)
    bias, rows = relative(), {}
    for query in range(9):
        for key in range(9):
            offset = (query // side - key // side, query % side - key % side)
            rows.setdefault(offset, bias[0, :, query, key])
            assert torch.equal(rows[offset], bias[0, :, query, key]), (query, key)
    assert len({tuple(row.tolist()) for row in rows.values()}) == 25
    with_class = RelativePositions(3, 2)
    with_class.table.data[:25] = relative.table
    assert torch.equal(with_class()[..., 1:, 1:], bias)


def test_the_index_is_no_weight_and_survives_a_model_built_without_storage():
    with torch.device("meta"):
        relative = RelativePositions(2, 3)
    assert list(relative.state_dict()) == ["table"]
    relative.load_state_dict({"table": torch.randn(12, 3)}, assign=True)
    assert relative().shape == (1, 3, 5, 5) and torch.isfinite(relative()).all()


@pytest.mark.parametrize("both_ways", [True, False])
@pytest.mark.parametrize(("buckets", "furthest"), [(32, 128), (8, 20), (4, 3), (64, 1000)])
def test_buckets_are_t5s(transformers, both_ways, buckets, furthest):
    t5 = transformers.models.t5.modeling_t5.T5Attention
    offset = torch.arange(-2100, 2100)
    expected = t5._relative_position_bucket(offset, both_ways, buckets, furthest)
    found = RelativeBuckets(2, buckets, furthest, both_ways).bucket(offset)
    assert torch.equal(found, expected) and len(found.unique()) > 2


@pytest.mark.parametrize("both_ways", [True, False])
def test_the_bias_is_t5s(transformers, both_ways):
    config = transformers.T5Config(num_heads=3, d_model=12, d_kv=4, is_decoder=not both_ways)
    theirs = transformers.models.t5.modeling_t5.T5Attention(config, has_relative_attention_bias=True)
    relative = RelativeBuckets(3, both_ways=both_ways)
    assert relative.table.shape == theirs.relative_attention_bias.weight.shape and (relative.table == 0).all()
    nn.init.normal_(relative.table)
    theirs.relative_attention_bias.weight.data.copy_(relative.table)
    whole = relative(40, 40)
    torch.testing.assert_close(whole, theirs.compute_bias(40, 40))
    # The last queries of a cached decoder, and rows that stand at positions of their own.
    torch.testing.assert_close(relative(3, 40), whole[:, :, 37:])
    each = relative(2, 40, torch.tensor([5, 0, 38]))
    torch.testing.assert_close(each, torch.cat([whole[:, :, first : first + 2] for first in (5, 0, 38)]))
    torch.testing.assert_close(relative(2, 40, 7), whole[:, :, 7:9])


@pytest.mark.parametrize(("buckets", "furthest", "both_ways"), [(3, 10, True), (1, 10, False), (32, 8, True)])
def test_buckets_that_hold_nothing_are_refused(buckets, furthest, both_ways):
    with pytest.raises(ValueError, match=f"{buckets} buckets hold .* distances singly, and the furthest is {furthest}"):
        RelativeBuckets(2, buckets, furthest, both_ways)


@pytest.mark.parametrize("masked", [False, True])
def test_tables_learn_from_the_attention_they_bias(masked):
    attention, x = Attention(8, 2).double(), torch.randn(2, 5, 8).double()
    mask = Mask(causal=True) if masked else None
    for relative in (RelativePositions(2, 2).double(), RelativeBuckets(2, 8, 20).double()):
        bias = relative() if isinstance(relative, RelativePositions) else relative(5, 5)
        attention(x, mask=mask, bias=bias).square().sum().backward()
        assert relative.table.grad.abs().sum() > 0
        relative.table.grad = None
        nn.init.normal_(relative.table)
        bias = relative() if isinstance(relative, RelativePositions) else relative(5, 5)
        assert not torch.allclose(attention(x, mask=mask, bias=bias), attention(x, mask=mask))
