"""The pieces that weeks share: a tower's first lesson, and how often words are hidden."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tinyvlm.data import World, load_emoji, load_tokenizer
from tinyvlm.data.scenes import SceneSpec, pool
from tinyvlm.data.tokenizer import RESERVED
from tinyvlm.data.words import BACKGROUNDS, COLOURS
from tinyvlm.encoders.resnet import ResNet, ResNetConfig
from tinyvlm.experiments.pretrain import Namer, name_sprites, single_sprites
from tinyvlm.experiments.words import content_rates
from tinyvlm.experiments.worlds import FEW


class Tower(nn.Module):
    """The picture in a coarse grid of colours; or the same numbers as tokens."""

    def __init__(self, tokens: bool = False):
        super().__init__()
        self.tokens, self.scale = tokens, nn.Parameter(torch.ones(()))

    def forward(self, image: Tensor) -> Tensor:
        grid = self.scale * nn.functional.avg_pool2d(image, 12)
        return grid.flatten(2).transpose(1, 2) if self.tokens else grid


@pytest.mark.parametrize("split", ["train", "val"])
def test_single_sprites_are_scenes_of_one_object_with_its_noun(split: str) -> None:
    batch = single_sprites(FEW, split, seed=3, size=48)(np.arange(200))
    emoji, nouns = load_emoji(), pool(FEW, split)
    assert batch["image"].shape == (200, 3, 48, 48) and len(nouns) == 64
    assert batch["label"].min() >= 0 and batch["label"].max() < 64 and len(batch["label"].unique()) > 50
    tokenizer = load_tokenizer()
    for text, label in zip(batch["text"].tolist(), batch["label"].tolist(), strict=True):
        said = [word for word in (emoji.nouns[n].noun for n in nouns) if tokenizer.id(word) in text]
        assert said == [emoji.nouns[nouns[label]].noun]


def test_both_splits_number_the_nouns_alike_and_share_no_scene() -> None:
    one, other = (single_sprites(FEW, split, seed=0, size=48)(np.arange(400)) for split in ("train", "val"))
    assert torch.equal(torch.tensor(pool(FEW, "train")), torch.tensor(pool(FEW, "val")))
    assert not set(one["content"].tolist()) & set(other["content"].tolist())


def test_repeats_and_relations_are_left_out() -> None:
    spec = SceneSpec(objects=(2, 4), repeats=0.5, relations=0.5, nouns=16)
    shown = World("train", seed=0, spec=spec, size=48)
    assert (shown.scenes(range(50)).noun >= 0).sum(1).min() > 1
    batch = single_sprites(spec, "train", seed=0, size=48)(np.arange(50))
    assert batch["label"].max() < 16


@pytest.mark.parametrize("tokens", [False, True])
def test_the_namer_reads_the_mean_of_a_grid_and_of_tokens(tokens: bool) -> None:
    torch.manual_seed(0)
    namer, image = Namer(Tower(tokens), 3, 5), torch.rand(2, 3, 48, 48)
    torch.testing.assert_close(namer(image).logits, namer.head(image.mean((2, 3))))


def test_naming_trains_the_tower_in_place_and_returns_a_share() -> None:
    tower, steps = Tower(), []
    accuracy = name_sprites(
        tower, 3, FEW, seed=0, size=48, steps=3, batch=8, measured=32, on_step=lambda done, total: steps.append(total)
    )
    assert 0 <= accuracy <= 1 and tower.scale.item() != 1 and tower.training and steps == [3, 3, 3]


def test_naming_is_deterministic_and_depends_on_the_seed() -> None:
    def scale(seed: int) -> float:
        torch.manual_seed(0)
        tower = Tower()
        name_sprites(tower, 3, FEW, seed=seed, size=48, steps=3, batch=8, measured=8)
        return tower.scale.item()

    assert scale(0) == scale(0) != scale(1)


def test_accuracy_of_a_tower_that_sees_and_of_one_that_is_blind() -> None:
    """Four nouns: a small CNN learns them, a blind tower says the same of every picture."""

    class Blind(Tower):
        def forward(self, image: Tensor) -> Tensor:
            return 0 * super().forward(image)

    spec = SceneSpec(objects=(1, 1), plates=4, backgrounds=2, nouns=4)
    label = single_sprites(spec, "val", 0, 48)(np.arange(128))["label"]
    shares = (label.bincount(minlength=4) / 128).tolist()
    how = {"seed": 0, "size": 48, "batch": 32, "measured": 128}
    assert name_sprites(Blind(), 3, spec, steps=2, **how) in [pytest.approx(share) for share in shares]
    small = ResNetConfig(image_size=48, stem=8, small_stem=True, depths=(1, 1), widths=(8, 16), bottleneck=False)
    assert name_sprites(ResNet(small), 16, spec, steps=60, lr=1e-2, **how) > max(shares) + 0.3


def test_content_rates_nouns_high_colours_less_the_rest_low_specials_never() -> None:
    tokenizer, rates = load_tokenizer(), content_rates(nouns=0.5, colours=0.3, others=0.1)
    assert rates.shape == (tokenizer.vocab_size,) and (rates[: len(RESERVED)] == 0).all()
    nouns = {tokenizer.id(name) for name in load_emoji().names("en")}
    colours = {tokenizer.id(name) for name in (*COLOURS, *BACKGROUNDS)} - nouns
    assert set((rates == 0.5).nonzero().flatten().tolist()) == nouns
    assert set((rates == 0.3).nonzero().flatten().tolist()) == colours
    others = [i for i in range(len(RESERVED), tokenizer.vocab_size) if i not in nouns | colours]
    torch.testing.assert_close(rates[others], torch.full((len(others),), 0.1))
    for word in ("on", "top", "the", "find"):
        assert rates[tokenizer.id(word)] == pytest.approx(0.1)
    assert torch.equal(rates, content_rates())


def test_content_rates_hide_every_object_of_a_caption_and_no_padding() -> None:
    world, rates = World("val", spec=FEW, context=20), content_rates(nouns=0.8, colours=0.0, others=0.0)
    batch = world.batch(range(64))
    expected = rates[batch["text"]]
    torch.testing.assert_close(expected.sum(1), 0.8 * torch.tensor((world.scenes(range(64)).noun >= 0).sum(1)).float())
    assert (expected[~batch["text_mask"]] == 0).all() and (content_rates()[batch["text"][:, 0]] == 0).all()
    # A plate for every object, and the background.
    colours = content_rates(nouns=0.0, colours=1.0, others=0.0)[batch["text"]].sum(1)
    torch.testing.assert_close(colours, 1 + torch.tensor((world.scenes(range(64)).noun >= 0).sum(1)).float())
