"""From a word to a region: the maps are those of the model's layers, and the counting knows right from wrong."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tinyvlm.data import load_emoji, load_tokenizer
from tinyvlm.encoders import normalise
from tinyvlm.experiments import grounding
from tinyvlm.experiments.grounding import hits, noun_words, patch_cells, pointing, word_maps
from tinyvlm.experiments.worlds import FEW, world
from tinyvlm.layers import record_attention
from tinyvlm.metrics.attention import grad_cam
from tinyvlm.models import ALBEF
from tinyvlm.models.albef import ALBEFConfig

WORLD = world("val", 0, 48)


@pytest.fixture
def model() -> ALBEF:
    return ALBEF.named("micro").eval()


def test_cells_of_patches():
    assert patch_cells(2).tolist() == [0, 1, 2, 3]
    assert patch_cells(4).view(4, 4).tolist() == [[0, 0, 1, 1]] * 2 + [[2, 2, 3, 3]] * 2
    with pytest.raises(ValueError, match="3 by 3 patches has no quarters"):
        patch_cells(3)


def test_a_point_is_in_the_cell_beside_it_or_shared():
    maps = torch.zeros(5, 16)
    maps[0, 5] = maps[1, 5] = 1.0  # row 1, column 1: top left
    maps[2, [6, 9]] = 1.0  # top right and bottom left
    maps[4] = 0.3
    assert hits(maps, torch.tensor([0, 3, 2, 1, 1])).tolist() == [1.0, 0.0, 0.5, 0.25, 0.25]


def test_nouns_are_found_in_captions():
    index = np.arange(32)
    scenes, batch = WORLD.scenes(index), WORLD.batch(index)
    word, named = noun_words(scenes, batch["text"])
    assert torch.equal(named, torch.from_numpy(scenes.noun >= 0))
    names, tokenizer = load_emoji().names("en"), load_tokenizer()
    for row, cell in named.nonzero().tolist():
        assert tokenizer.decode(batch["text"][row, word[row, cell]][None]) == names[scenes.noun[row, cell]]


def test_a_noun_that_a_caption_does_not_name_once_is_left_out():
    scenes, text = WORLD.scenes(np.arange(4)), WORLD.batch(np.arange(4))["text"]
    word, named = noun_words(scenes, text)
    cell = int(named[0].nonzero()[0])
    twice, never = text.clone(), text.roll(1, 0)
    twice[0, 0] = text[0, word[0, cell]]
    assert not noun_words(scenes, twice)[1][0, cell]
    assert noun_words(scenes, never)[1].sum() < named.sum()


@pytest.mark.parametrize("class_token", [False, True])
def test_maps_are_those_of_the_layers(class_token):
    config = ALBEFConfig.named("micro")
    model = ALBEF(replace(config, vision=replace(config.vision, class_token=class_token))).eval()
    batch = WORLD.batch(range(3))
    with record_attention(model, graph=True) as maps:
        score = model(normalise(batch["image"]), batch["text"], batch["text_mask"]).score
    for layer in range(config.fusion):
        (weights,) = maps[f"fusion.{layer}.cross.branch"]
        assert weights.shape == (3, 4, WORLD.batch([0])["text"].shape[1], 16 + class_token)
        plain, cam = (word_maps(model, batch, method)[layer] for method in ("attention", "grad-cam"))
        torch.testing.assert_close(plain, weights.mean(1).detach()[..., class_token:])
        torch.testing.assert_close(cam, grad_cam(weights, score)[..., class_token:])
        assert not plain.requires_grad and not cam.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


def test_gradients_are_found_where_none_are_kept(model):
    with torch.no_grad():
        found = word_maps(model, WORLD.batch(range(2)), "grad-cam")
    assert found.max() > 0


def test_another_method_is_refused(model):
    with pytest.raises(ValueError, match="unknown method 'saliency'; choose from attention, grad-cam"):
        word_maps(model, WORLD.batch(range(2)), "saliency")


@pytest.mark.parametrize("chunk", [7, 64])
def test_pointing_at_the_object_beside_it_and_nowhere(model, monkeypatch, chunk):
    """Layer 0 looks at the noun's own cell, layer 1 at the opposite one, layer 2 nowhere in particular."""
    start = 0

    def known(model: ALBEF, batch: dict[str, Tensor], method: str) -> Tensor:
        nonlocal start
        scenes = WORLD.scenes(start + np.arange(len(batch["text"])))
        start += len(scenes)
        word, named = noun_words(scenes, batch["text"])
        maps = torch.full((3, *batch["text"].shape, 16), 0.1)
        for row, cell in named.nonzero().tolist():
            for layer, aim in enumerate((cell, 3 - cell)):
                maps[layer, row, word[row, cell], (patch_cells(4) == aim).nonzero()[row % 4]] = 0.2
        return maps

    monkeypatch.setattr(grounding, "word_maps", known)
    assert pointing(model, WORLD, 20, chunk=chunk) == [1.0, 0.0, 0.25]
    assert start == 20


@pytest.mark.parametrize("method", grounding.METHODS)
def test_an_untrained_model_finds_objects_and_not_the_one_that_is_named(model, method):
    """Objects stand out from the ground without any training, which is why scenes of two are asked."""
    pairs = world("val", 0, 48, replace(FEW, objects=(2, 2)))
    found = pointing(model, pairs, 64, method)
    assert len(found) == 2 and all(0.1 < share < 0.65 for share in found)


def test_captions_without_nouns_are_refused(model, monkeypatch):
    monkeypatch.setattr(
        grounding,
        "noun_words",
        lambda scenes, text: (torch.zeros(len(text), 4).long(), torch.zeros(len(text), 4).bool()),
    )
    with pytest.raises(ValueError, match="none of the 4 captions names an object"):
        pointing(model, WORLD, 4)
