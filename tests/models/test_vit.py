"""ViT: its head, its poolings, its task."""

import math

import pytest
import torch
from torch import nn

from tinyvlm.encoders import VisionConfig
from tinyvlm.models import ViT, ViTConfig, ViTTask

TOWER = VisionConfig(image_size=12, patch=4, width=32, layers=2, heads=4, hidden=64)


def vit(**changes) -> ViT:
    return ViT(ViTConfig(**{"tower": TOWER, "classes": 6, **changes}))


def batch(size: int = 12) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    image = torch.randint(0, 256, (size, 3, 12, 12), generator=generator, dtype=torch.uint8)
    return {"image": image, "label": torch.arange(size) % 6}


def test_the_first_loss_is_the_logarithm_of_the_number_of_classes(rng):
    task = ViTTask(vit())
    term = task(task.prepare(batch(), rng))["cross_entropy"]
    assert term.count.item() == 12
    assert term.mean.item() == pytest.approx(math.log(6), abs=1e-6)
    assert (task.model(torch.randn(2, 3, 12, 12)).logits == 0).all()


def test_the_loss_is_a_sum_over_the_batch(rng):
    task = ViTTask(vit())
    nn.init.normal_(task.model.head.weight)
    whole = task(task.prepare(batch(), rng))["cross_entropy"]
    parts = [task(task.prepare({k: v[i : i + 4] for k, v in batch().items()}, rng)) for i in (0, 4, 8)]
    torch.testing.assert_close(sum(part["cross_entropy"].sum for part in parts), whole.sum)
    assert sum(part["cross_entropy"].count for part in parts) == whole.count
    logits = task.model(task.prepare(batch(), rng)["image"]).logits.log_softmax(-1)
    torch.testing.assert_close(whole.mean, -logits[torch.arange(12), batch()["label"]].mean())


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("representation", [None, 10])
def test_features_and_logits_are_read_from_the_tokens(pooling, representation):
    model, image = vit(pool=pooling, representation=representation), torch.randn(2, 3, 12, 12)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    out = model(image)
    features = out.tokens[:, 0] if pooling == "first" else out.tokens.mean(1)
    if representation:
        features = (features @ model.representation[0].weight.T + model.representation[0].bias).tanh()
    torch.testing.assert_close(out.features, features)
    torch.testing.assert_close(out.logits, features @ model.head.weight.T + model.head.bias)
    assert out.tokens.shape == (2, 10, 32)


def test_a_model_without_a_head_has_no_logits_and_no_task():
    model = vit(classes=0)
    assert model.head is None and model(torch.randn(1, 3, 12, 12)).logits is None
    with pytest.raises(ValueError, match=r"no head \(classes=0\); build it with the number of classes"):
        ViTTask(model)


def test_prepare_scales_pixels_and_leaves_the_batch_alone(rng):
    given = batch()
    prepared = ViTTask(vit()).prepare(given, rng)
    torch.testing.assert_close(prepared["image"], given["image"].float() / 127.5 - 1)
    assert given["image"].dtype == torch.uint8 and prepared["label"] is given["label"]


def test_the_network_is_deterministic_and_every_parameter_is_used():
    model, image = vit(), torch.randn(2, 3, 12, 12)
    nn.init.normal_(model.head.weight)
    assert torch.equal(model(image).logits, model(image).logits)
    (model(image).logits ** 2).sum().backward()
    for name, parameter in model.named_parameters():
        if ".k.bias" not in name:  # the softmax takes a shift of all logits out again
            assert parameter.grad.abs().max() > 0, name


def test_a_tiny_batch_is_learnt_by_heart(rng):
    task = ViTTask(vit())
    examples = task.prepare(batch(), rng)
    optimiser = torch.optim.AdamW(task.parameters(), 3e-3, weight_decay=0.0)
    for _ in range(70):
        optimiser.zero_grad()
        loss = task(examples)["cross_entropy"].mean
        loss.backward()
        optimiser.step()
    assert task(examples)["cross_entropy"].mean < 0.1 < math.log(6)
