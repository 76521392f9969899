"""The scenes that weeks share."""

import pytest
import torch

from tinyvlm.data.noise import Noise, NoisyWorld
from tinyvlm.data.scenes import SceneSpec
from tinyvlm.data.world import World
from tinyvlm.experiments.worlds import FEW, FULL, world


@pytest.mark.parametrize("spec", [FEW, FULL], ids=["FEW", "FULL"])
def test_captions_fit_and_are_padded_no_further_than_they_need(spec: SceneSpec) -> None:
    mask = world("train", 0, 48, spec).batch(range(512))["text_mask"]
    assert 0 <= mask.shape[1] - int(mask.sum(1).max()) <= 1


def test_a_world_is_what_its_arguments_say() -> None:
    plain = world("val", 3, 64, context=24)
    assert type(plain) is World and plain.spec == FEW
    batch, same = plain.batch(range(3)), World("val", seed=3, spec=FEW, size=64, context=24).batch(range(3))
    assert all(torch.equal(batch[key], same[key]) for key in same) and batch["image"].shape == (3, 3, 64, 64)


def test_noise_exchanges_captions_and_leaves_pictures() -> None:
    right, wrong = (world("train", 0, 48, noise=noise) for noise in (None, Noise(swapped=0.3)))
    assert isinstance(wrong, NoisyWorld)
    right, wrong = right.batch(range(200)), wrong.batch(range(200))
    assert torch.equal(right["image"], wrong["image"])
    assert 0.2 < (right["text"] != wrong["text"]).any(1).double().mean() < 0.4
