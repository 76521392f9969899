"""Paper sizes on the meta device against the published counts (no memory, no random numbers)."""

import pytest
import torch

from tinyvlm.models import ALBEF, CLIP, BEiT, MaskVLM, PixelBERT, ViT, VLMo
from tinyvlm.models.base import PaperModel
from tinyvlm.models.beit import BEiTClassifier
from tinyvlm.objectives import MomentumTwin

COUNTS = {
    "Ti/16": 5_717_416,
    "S/16": 22_050_664,
    "B/32": 88_224_232,
    "B/16": 86_567_656,
    "L/16": 304_326_632,
    "L/32": 306_535_400,
    "H/14": 632_045_800,
}
CLIP_COUNTS = {
    "ViT-B/32": 151_277_313,
    "ViT-B/16": 149_620_737,
    "ViT-L/14": 427_616_513,
    "ViT-L/14@336": 427_944_193,
}


def on_meta(model: type[PaperModel], size: str, **changes) -> PaperModel:
    with torch.device("meta"):
        return model.named(size, **changes)


def parameters(*parts: torch.nn.Module) -> int:
    return sum(parameter.numel() for part in parts for parameter in part.parameters())


@pytest.mark.parametrize(("size", "count"), COUNTS.items())
def test_vit(size, count):
    assert on_meta(ViT, size).count() == count


def test_vit_without_its_head_and_with_the_pre_training_head():
    assert on_meta(ViT, "B/16", classes=0).count() == 85_798_656
    assert on_meta(ViT, "B/16", classes=0, representation=768).count() == 85_798_656 + 768 * 768 + 768


@pytest.mark.parametrize(("size", "count"), CLIP_COUNTS.items())
def test_clip(size, count):
    assert on_meta(CLIP, size).count() == count


def test_clip_towers_at_b32():
    model = on_meta(CLIP, "ViT-B/32")
    text = sum(parameter.numel() for parameter in model.text.parameters())
    assert text == 63_165_952
    assert model.count() - text - 512 * 512 - 1 == sum(p.numel() for p in model.vision.parameters()) + 768 * 512


@pytest.mark.parametrize(
    ("size", "tokens"), {"ViT-B/32": 50, "ViT-B/16": 197, "ViT-L/14": 257, "ViT-L/14@336": 577}.items()
)
def test_clip_sequence_lengths(size, tokens):
    config = CLIP.Config.named(size)
    assert config.vision.tokens == tokens and config.text.context == 77 and config.text.vocabulary == 49408


def test_pixel_bert_is_resnet_50_and_bert_base():
    """By parts: the total of 94.9M in ViLT's table 6 is below the sum of the parts that the paper names."""
    model = on_meta(PixelBERT, "R50")
    bert = parameters(model.embedding, model.blocks, model.norm)
    assert parameters(model.trunk) == 23_508_032
    assert bert + parameters(model.pooler) == 109_482_240  # BertModel
    assert bert + parameters(model.word) == 109_514_298  # BertForMaskedLM, which has no pooler
    assert parameters(model.projection) + model.visual.numel() == 2048 * 768 + 768 + 768
    assert model.answer is None and model.count() == 23_508_032 + 1_574_400 + 109_514_298 + 590_592 + 2 * 768 + 2


@pytest.mark.parametrize(("image_size", "count"), {224: 85_798_656, 256: 85_844_736, 384: 86_090_496}.items())
def test_albef_by_parts(image_size, count):
    vision = ALBEF.Config.named("B/16").vision.replace(image_size=image_size)
    model = on_meta(ALBEF, "B/16", vision=vision)
    text = (model.embedding, model.text, model.text_norm, model.fusion, model.fusion_norm, model.word)
    assert parameters(*text) == 123_697_722 and parameters(model.vision) == count
    # Two projections 768 -> 256, the matching head, the temperature.
    assert model.count(trainable=True) == 123_697_722 + count + 2 * (768 * 256 + 256) + 2 * 768 + 2 + 1


def test_albef_trains_one_network_and_moves_another():
    model = on_meta(ALBEF, "B/16")
    twin = MomentumTwin(model, leave_out=("match", "temperature"))
    assert model.count(trainable=True) == 209_937_725 and parameters(twin) == 0
    assert sum(value.numel() for value in twin.followed()) == 209_936_186
    assert model.config.vision.tokens == 257


def test_maskvlm_by_parts():
    """Our own sum: the paper gives no count. ViT-B/16, RoBERTa-base, nine cross blocks, RoBERTa's head."""
    model = on_meta(MaskVLM, "B/16")
    text, crossed = (model.embedding, model.text), (model.image_cross, model.text_cross, model.decoder)
    assert parameters(model.vision) == 85_798_656 and parameters(*text) == 124_055_040
    assert [parameters(stack) for stack in crossed] == 3 * [3 * 9_451_776]
    assert parameters(model.word) == 642_393
    parts = 85_798_656 + 124_055_040 + 9 * 9_451_776 + 642_393
    assert parts == 295_562_073
    # Two projections 768 -> 256, the pixels of a patch, the matching head, the mask token, the temperature.
    assert model.count() == parts + 2 * (768 * 256 + 256) + 768 * 768 + 768 + 2 * 768 + 2 + 768 + 1 == 296_548_700
    assert model.config.vision.tokens == 197


@pytest.mark.parametrize(
    ("size", "count", "pooler"),
    [
        ("Base", 175_430_496, 176_021_088),
        ("Base+", 166_567_360, 166_863_840),
        ("Large", 561_544_448, 562_594_048),
    ],
)
def test_vlmo_without_its_heads(size, count, pooler):
    """Published as 175M, 167M and 562M: the shared Transformer with its experts, and what makes patches and words."""
    model = on_meta(VLMo, size)
    parts = [model.embedding, model.modality, model.shared]
    parts += [] if model.relative is None else [model.relative]
    assert parameters(*parts) == count and parameters(*parts, model.pooler) == pooler
    assert model.config.bert.context + model.config.vision.tokens == 237
    if model.relative is not None:
        assert model.relative.table.shape == (1126, model.config.vision.heads * model.config.vision.layers)


def test_vlmo_experts_and_one_wide_feed_forward_are_equally_large():
    """The chapter's comparison: as many hidden units in all, 7/3 as many a layer at micro."""
    config = VLMo.Config.named("micro")
    wide = config.replace(experts=False, vision=config.vision.replace(hidden=448))
    assert VLMo(wide).count() == pytest.approx(VLMo(config).count(), rel=0.002)


def test_every_paper_size_is_counted():
    assert set(ViT.Config.SIZES) == set(COUNTS) | {"micro", "small"}
    assert set(CLIP.Config.SIZES) == set(CLIP_COUNTS) | {"micro", "small"}
    assert set(PixelBERT.Config.SIZES) == {"R50", "micro", "small"}
    assert set(ALBEF.Config.SIZES) == {"B/16", "micro", "small"}
    assert set(MaskVLM.Config.SIZES) == {"B/16", "micro", "small"}
    assert set(VLMo.Config.SIZES) == {"Base", "Base+", "Large", "micro", "small"}


@pytest.mark.parametrize("model", [ViT, CLIP, PixelBERT, ALBEF, MaskVLM, VLMo])
def test_micro_is_micro(model):
    assert 0.3e6 < model.named("micro").count() < 3e6
    assert on_meta(model, "micro").count() < on_meta(model, "small").count() < 20e6


def test_counts_by_trainability():
    model = ViT.named("micro")
    for parameter in model.tower.parameters():
        parameter.requires_grad_(False)
    head = sum(parameter.numel() for parameter in model.head.parameters())
    assert model.count(trainable=True) == head and model.count(trainable=False) == model.count() - head


@pytest.mark.parametrize(
    ("size", "pre_training", "classifier"), [("B/16", 91_965_776, 86_530_984), ("L/16", 311_534_016, 304_430_568)]
)
def test_beit(size, pre_training, classifier):
    """8,192 codes and a shared bias; 1,000 classes and a bias for each layer."""
    model = on_meta(BEiT, size)
    assert model.count() == pre_training
    assert model.config.tower.tokens == 197 and model.relative.table.shape[0] == 732
    assert on_meta(BEiTClassifier, size, relative="layers").count() == classifier
    if size == "B/16":
        assert parameters(model.head) == 6_299_648 and pre_training - 6_299_648 == 85_666_128
