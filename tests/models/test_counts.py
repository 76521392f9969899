"""Paper sizes on the meta device against the published counts (no memory, no random numbers)."""

import pytest
import torch

from tinyvlm.models import CLIP, ViT
from tinyvlm.models.base import PaperModel

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


def test_every_paper_size_is_counted():
    assert set(ViT.Config.SIZES) == set(COUNTS) | {"micro", "small"}
    assert set(CLIP.Config.SIZES) == set(CLIP_COUNTS) | {"micro", "small"}


@pytest.mark.parametrize("model", [ViT, CLIP])
def test_micro_is_micro(model):
    assert 0.3e6 < model.named("micro").count() < 3e6
    assert on_meta(model, "micro").count() < on_meta(model, "small").count() < 20e6


def test_counts_by_trainability():
    model = ViT.named("micro")
    for parameter in model.tower.parameters():
        parameter.requires_grad_(False)
    head = sum(parameter.numel() for parameter in model.head.parameters())
    assert model.count(trainable=True) == head and model.count(trainable=False) == model.count() - head
