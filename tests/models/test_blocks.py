"""The blocks that papers' files write out: ALBEF's, which also looks elsewhere, and those that equal a tower's own."""

from functools import partial

import pytest
import torch
from torch import nn

from tinyvlm.encoders.bert import BertConfig, bert_block
from tinyvlm.encoders.text import TextConfig, text_block
from tinyvlm.encoders.vision import VisionConfig, vision_block
from tinyvlm.models.albef import fusion_block
from tinyvlm.models.clip import tower_block
from tinyvlm.models.pixel_bert import stream_block
from tinyvlm.models.vit import encoder_block

BERT = BertConfig(width=12, heads=2, hidden=18, eps=1e-3, dropout=0.25)
PRE = BERT.replace(placement="pre")
VISION = VisionConfig(image_size=8, patch=4, width=12, layers=3, heads=2, hidden=18, dropout=0.25, drop=0.4)
BARE = VISION.replace(qkv_bias=False, activation="relu")
TEXT = TextConfig(width=12, layers=3, heads=2, hidden=18, dropout=0.25)


@pytest.mark.parametrize("placement", ["pre", "post"])
@pytest.mark.parametrize("image_width", [12, 7])
def test_cross_attention_stands_between_attention_and_feed_forward(placement, image_width):
    block = fusion_block(BERT.replace(placement=placement), image_width).double().eval()
    assert list(block) == ["attention", "cross", "mlp"]
    x, image = torch.randn(2, 4, 12).double(), torch.randn(2, 5, image_width).double()
    y = x
    for name, inputs in (("attention", ()), ("cross", (image,)), ("mlp", ())):
        residual = block[name]
        assert residual.norm.eps == 1e-3
        if placement == "pre":
            y = y + residual.branch(residual.norm(y), *inputs)
        else:
            y = residual.norm(y + residual.branch(y, *inputs))
    torch.testing.assert_close(block(x, cross={"context": image}), y)


def test_only_the_cross_attention_reads_the_picture():
    block = fusion_block(BERT.replace(placement="pre"), 7).double().eval()
    x, image = torch.randn(2, 4, 12).double(), torch.randn(2, 5, 7).double()
    out = block(x, cross={"context": image})
    assert not torch.allclose(out[0], block(x, cross={"context": 2 * image})[0])
    changed = image.clone()
    changed[1] += 1  # the other picture
    torch.testing.assert_close(block(x, cross={"context": changed})[0], out[0])
    shuffled = image[:, torch.tensor([3, 0, 4, 2, 1])]  # keys have no order
    torch.testing.assert_close(block(x, cross={"context": shuffled}), out)
    nn.init.zeros_(block["cross"].branch.out.weight)
    torch.testing.assert_close(block(x, cross={"context": image}), block(x, cross={"context": changed}))


def test_dropout_follows_every_branch_of_the_fusion():
    block = fusion_block(BERT, 7)
    assert [block[name].dropout.p for name in block] == [0.25] * 3 and block["mlp"].branch.dropout.p == 0.25
    assert block["cross"].branch.k.weight.shape == block["cross"].branch.v.weight.shape == (12, 7)


@pytest.mark.parametrize(
    ("papers", "towers"),
    [
        (partial(stream_block, BERT), partial(bert_block, BERT)),
        (partial(stream_block, PRE), partial(bert_block, PRE)),
        (partial(encoder_block, VISION, 1), partial(vision_block, VISION, 1)),
        (partial(encoder_block, BARE, 2), partial(vision_block, BARE, 2)),
        (partial(tower_block, VISION, True, 0.2), partial(vision_block, VISION, 1)),
        (partial(tower_block, BARE, False, 0.4), partial(vision_block, BARE, 2)),
        (partial(tower_block, TEXT), partial(text_block, TEXT)),
    ],
)
def test_a_block_written_out_is_the_towers_plain_one(papers, towers):
    """The same draws, the same parts, the same settings, in evaluation and in training."""
    blocks = []
    for make in (papers, towers):
        torch.manual_seed(1)
        blocks.append(make())
    one, other = blocks
    assert str(one) == str(other) and [r.drop for r in one.values()] == [r.drop for r in other.values()]
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)
    x = torch.randn(3, 4, 12)
    for mode in (False, True):
        outputs = []
        for block in blocks:
            torch.manual_seed(2)
            outputs.append(block.train(mode)(x))
        assert torch.equal(*outputs)
