"""The block that also looks elsewhere: where cross-attention stands, and what it reads."""

import pytest
import torch

from tinyvlm.encoders.blocks import transformer_block


def test_without_a_context_there_is_no_cross_attention():
    block = transformer_block(12, 2, 18)
    assert list(block) == ["attention", "mlp"]
    with pytest.raises(ValueError, match="no residual named cross; this block has attention, mlp"):
        block(torch.randn(1, 3, 12), cross={"context": torch.randn(1, 2, 12)})


@pytest.mark.parametrize("placement", ["pre", "post"])
@pytest.mark.parametrize("context_width", [12, 7])
def test_cross_attention_stands_between_attention_and_feed_forward(placement, context_width):
    block = transformer_block(12, 2, 18, placement=placement, eps=1e-3, context_width=context_width).double()
    assert list(block) == ["attention", "cross", "mlp"]
    x, context = torch.randn(2, 4, 12).double(), torch.randn(2, 5, context_width).double()
    y = x
    for name, inputs in (("attention", ()), ("cross", (context,)), ("mlp", ())):
        residual = block[name]
        assert residual.norm.eps == 1e-3
        if placement == "pre":
            y = y + residual.branch(residual.norm(y), *inputs)
        else:
            y = residual.norm(y + residual.branch(y, *inputs))
    torch.testing.assert_close(block(x, cross={"context": context}), y)


def test_only_the_cross_attention_reads_the_context():
    block = transformer_block(12, 2, 18, context_width=7).double()
    x, context = torch.randn(2, 4, 12).double(), torch.randn(2, 5, 7).double()
    out = block(x, cross={"context": context})
    assert not torch.allclose(out[0], block(x, cross={"context": 2 * context})[0])
    changed = context.clone()
    changed[1] += 1  # the other picture
    torch.testing.assert_close(block(x, cross={"context": changed})[0], out[0])
    shuffled = context[:, torch.tensor([3, 0, 4, 2, 1])]  # keys have no order
    torch.testing.assert_close(block(x, cross={"context": shuffled}), out)
    torch.nn.init.zeros_(block["cross"].branch.out.weight)
    torch.testing.assert_close(block(x, cross={"context": context}), block(x, cross={"context": changed}))


def test_biases_and_dropout_reach_the_cross_attention():
    cross = transformer_block(12, 2, 18, bias=False, dropout=0.25, drop=0.125, context_width=7)["cross"]
    assert cross.branch.q.bias is cross.branch.k.bias is cross.branch.v.bias is None
    assert cross.dropout.p == 0.25 and cross.drop == 0.125 and cross.branch.heads == 2
    assert cross.branch.k.weight.shape == cross.branch.v.weight.shape == (12, 7)
