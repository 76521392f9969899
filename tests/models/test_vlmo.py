"""VLMo: the network by hand, its first loss, and that it learns."""

import math

import pytest
import torch
from torch import nn

from tinyvlm.encoders import VisionConfig
from tinyvlm.models.vlmo import VLMo, VLMoConfig, VLMoTask

TOWER = VisionConfig(image_size=12, patch=4, width=32, layers=2, heads=4, hidden=64, class_token=False)


def small() -> VLMo:
    return VLMo(VLMoConfig(TOWER, classes=6))


def batch(size: int = 12) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    image = torch.randint(0, 256, (size, 3, 12, 12), generator=generator, dtype=torch.uint8)
    return {"image": image, "label": torch.arange(size) % 6}


def test_logits_are_read_from_the_mean_of_the_tokens():
    model, image = small(), torch.randn(2, 3, 12, 12)
    nn.init.normal_(model.head.weight)
    out = model(image)
    assert out.tokens.shape == (2, 9, 32)
    torch.testing.assert_close(out.features, model.tower(image).mean(1))
    torch.testing.assert_close(out.logits, out.features @ model.head.weight.T + model.head.bias)


def test_the_first_loss_is_the_logarithm_of_the_number_of_classes(rng):
    task = VLMoTask(small())
    term = task(task.prepare(batch(), rng))["cross_entropy"]
    assert term.count.item() == 12
    assert term.mean.item() == pytest.approx(math.log(6), abs=1e-6)


def test_a_tiny_batch_is_learnt_by_heart(rng):
    task = VLMoTask(small())
    examples = task.prepare(batch(), rng)
    optimiser = torch.optim.AdamW(task.parameters(), 3e-3, weight_decay=0.0)
    for _ in range(100):
        optimiser.zero_grad()
        loss = task(examples)["cross_entropy"].mean
        loss.backward()
        optimiser.step()
    assert task(examples)["cross_entropy"].mean < 0.2 < math.log(6)


def test_named_sizes_are_instantiated():
    """On the meta device: no memory. Hold the paper's sizes against their published counts here."""
    for size in VLMoConfig.SIZES:
        with torch.device("meta"):
            model = VLMo.named(size)
        head = model.config.classes * (model.config.tower.width + 1)
        assert model.count() == head + sum(parameter.numel() for parameter in model.tower.parameters())
