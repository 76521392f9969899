"""BEiT: the network by hand, what is hidden, which codes are right, and what fine-tuning takes over."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tinyvlm.encoders import VisionConfig, normalise
from tinyvlm.layers import RelativePositions
from tinyvlm.models.beit import BEiT, BEiTClassifier, BEiTConfig
from tinyvlm.models.beit_task import BEiTTask, resized
from tinyvlm.models.tokenizers import TokenizerConfig, VisualTokenizer
from tinyvlm.models.vit import ViTTask

TOWER = VisionConfig(image_size=24, patch=4, width=32, layers=2, heads=4, hidden=48, positions=False)
TOKENIZER = TokenizerConfig(
    kind="vq", image_size=24, codes=20, code_width=8, widths=(8, 8), strides=(2, 2), blocks=1, laplace=False
)


def network(**changes) -> BEiT:
    torch.manual_seed(1)
    return BEiT(BEiTConfig(**{"tower": TOWER, "codes": 20, "classes": 6, "std": 0.1, **changes}))


def shaken(model: nn.Module) -> nn.Module:
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def task(**options) -> BEiTTask:
    torch.manual_seed(2)
    return BEiTTask(network(), VisualTokenizer(TOKENIZER), **{"count": 14, "least": 4, **options})


def batch(size: int = 8) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    image = torch.randint(0, 256, (size, 3, 24, 24), generator=generator, dtype=torch.uint8)
    return {"image": image, "label": torch.arange(size) % 6}


def some_hidden(pictures: int = 2) -> torch.Tensor:
    hidden = torch.zeros(pictures, 36, dtype=torch.bool)
    hidden[0, :5], hidden[1:, 7:9] = True, True
    return hidden


def residual(x: torch.Tensor, part: nn.Module, y: torch.Tensor) -> torch.Tensor:
    return x + part.scale * y


@torch.no_grad()
def test_the_network_by_hand():
    """Every step of figure 1 with plain tensors: mask token, class token, shared bias, LayerScale, head."""
    model, image, hidden = shaken(network()), torch.randn(2, 3, 24, 24), some_hidden()
    patches = F.conv2d(image, model.tower.patches.weight, model.tower.patches.bias, stride=4).flatten(2).mT
    for picture, place in hidden.nonzero().tolist():
        patches[picture, place] = model.mask_token
    x = torch.cat([model.tower.class_token.expand(2, 1, -1), patches], 1)
    bias = model.relative.table[model.relative.index].permute(2, 0, 1)
    for block in model.tower.blocks:
        one = block["attention"]
        y, attention = one.norm(x), one.branch
        q, k, v = (part(y).view(2, 37, 4, 8).transpose(1, 2) for part in (attention.q, attention.k, attention.v))
        weights = (q @ k.mT / math.sqrt(8) + bias).softmax(-1)
        x = residual(x, one, attention.out((weights @ v).transpose(1, 2).flatten(2)))
        two = block["mlp"]
        x = residual(x, two, two.branch.down(F.gelu(two.branch.up(two.norm(x)))))
    x = model.tower.norm(x)
    out = model(image, hidden)
    torch.testing.assert_close(out.tokens, x)
    wanted = [model.head(x[picture, 1 + place]) for picture, place in hidden.nonzero().tolist()]
    torch.testing.assert_close(out.logits, torch.stack(wanted))
    assert attention.k.bias is None and attention.q.bias is not None


@torch.no_grad()
def test_pixels_of_hidden_patches_change_nothing_and_those_of_others_do():
    model, image, hidden = shaken(network()), torch.randn(2, 3, 24, 24), some_hidden()
    before = model(image, hidden).logits
    other = image.clone()
    other[0, :, :4, :20] = torch.randn(3, 4, 20)  # the five hidden patches of the first row
    torch.testing.assert_close(model(other, hidden).logits, before)
    other[0, :, :4, 20:] += 1  # a patch that is seen
    assert (model(other, hidden).logits - before)[:5].abs().max() > 1e-3


def test_hidden_patches_of_all_pictures_are_one_row_in_the_order_of_their_codes(rng):
    """No fixed number a picture: one hides five patches, another two."""
    model, image, hidden = shaken(network()), torch.randn(2, 3, 24, 24), some_hidden()
    logits = model(image, hidden).logits
    assert logits.shape == (7, 20)
    for picture in range(2):
        alone = model(image[picture : picture + 1], hidden[picture : picture + 1]).logits
        torch.testing.assert_close(alone, logits[5 * picture : 5 + 2 * picture])
    counts = task().masks(64, rng).sum(1)
    assert len(counts.unique()) > 1


@pytest.mark.parametrize("relative", ["none", "shared", "layers"])
def test_where_relative_positions_come_from(relative):
    model = network(relative=relative)
    tables = [name for name, _ in model.named_parameters() if name.startswith("relative")]
    assert (
        tables
        == {"none": [], "shared": ["relative.table"], "layers": ["relative.0.table", "relative.1.table"]}[relative]
    )
    if relative != "none":
        shaken(model)
        image, hidden = torch.randn(2, 3, 24, 24), some_hidden()
        before = model(image, hidden).logits
        last = model.relative if isinstance(model.relative, RelativePositions) else model.relative[-1]
        nn.init.zeros_(last.table)
        assert (model(image, hidden).logits - before).abs().max() > 1e-3


def test_layer_scale_starts_where_the_configuration_says_and_can_be_left_out():
    for block in network(scale=1e-5).tower.blocks:
        assert all(torch.equal(one.scale, torch.full((32,), 1e-5)) for one in block.values())
    assert all(one.scale is None for block in network(scale=None).tower.blocks for one in block.values())


def test_initial_weights_are_those_of_the_official_code():
    config = BEiTConfig.named("B/16").tower.replace(width=256, layers=3, heads=4, hidden=1024, image_size=32)
    model = BEiT(BEiTConfig(tower=config, codes=100))
    first, last = (model.tower.blocks[depth]["mlp"].branch for depth in (0, 2))
    assert first.up.weight.abs().max() <= 0.02 and 0.9 < first.up.weight.abs().max() / 0.02
    for number, part in ((1, first), (3, last)):
        assert part.down.weight.abs().max().item() == pytest.approx(0.02 / math.sqrt(2 * number), rel=0.02)
    assert first.up.bias.abs().max() == 0 and model.relative.table.abs().max() == 0
    drops = [block["attention"].drop for block in model.tower.blocks]
    assert drops == pytest.approx([0, 0.05, 0.1])


# Pre-training


def test_the_first_loss_is_near_that_of_a_uniform_guess(rng):
    one = task()
    term = one(one.prepare(batch(64), rng))["MIM"]
    assert term.mean.item() == pytest.approx(math.log(20), abs=0.05)
    assert term.count.item() == one.masks(64, torch.Generator().manual_seed(0)).sum().item()


def test_the_loss_is_the_mean_of_hidden_patches_by_a_loop(rng):
    one = task()
    shaken(one.model)
    ready = one.prepare(batch(4), rng)
    logits, losses, row = one.model(ready["image"], ready["hidden"]).logits, [], 0
    for picture in range(4):
        for place in range(36):
            if ready["hidden"][picture, place]:
                losses.append(-logits[row].log_softmax(0)[ready["codes"][picture, place]])
                row += 1
    term = one(ready)["MIM"]
    torch.testing.assert_close(term.sum, torch.stack(losses).sum())
    assert term.count == len(losses) == row


def test_codes_are_those_of_the_whole_unmasked_picture(rng):
    one, given = task(), batch()
    ready = one.prepare(given, rng)
    assert torch.equal(ready["codes"], one.tokenizer.network.codes(normalise(given["image"])))
    other = one.prepare(given, torch.Generator().manual_seed(99))
    assert not torch.equal(other["hidden"], ready["hidden"]) and torch.equal(other["codes"], ready["codes"])


def test_a_tokenizer_of_another_resolution_sees_the_same_crop(rng):
    """Grids align: half the pixels, half the stride."""
    half = TOKENIZER.replace(image_size=12, strides=(2, 1))
    one = BEiTTask(network(), VisualTokenizer(half), count=14, least=4)
    ready = one.prepare(batch(), rng)
    small = resized(normalise(batch()["image"]), 12)
    assert small.shape[-1] == 12 and small.abs().max() <= 1
    assert torch.equal(ready["codes"], one.tokenizer.network.codes(small)) and ready["codes"].shape == (8, 36)
    image = torch.randn(1, 3, 4, 4)
    assert resized(image, 4) is image


def test_the_tokenizer_is_frozen_and_in_no_parameter_list(rng):
    tokenizer = VisualTokenizer(TOKENIZER)
    before = {name: value.clone() for name, value in tokenizer.state_dict().items()}
    one = BEiTTask(network(), tokenizer, count=14, least=4)
    assert {name for name, _ in one.named_parameters()} == {f"model.{name}" for name, _ in one.model.named_parameters()}
    assert not any(name.startswith("tokenizer") for name in one.state_dict())
    assert list(tokenizer.parameters()), "the caller's tokenizer stays as it was"
    optimiser = torch.optim.SGD(one.parameters(), 1.0, weight_decay=0.1)
    one.train()
    one(one.prepare(batch(), rng))["MIM"].mean.backward()
    optimiser.step()
    assert not one.tokenizer.network.training
    found = dict(one.tokenizer.network.named_buffers())
    assert all(torch.equal(found[name], value) for name, value in before.items())


def test_masks_are_those_that_the_task_names(rng):
    assert task(masking="random", count=9).masks(16, rng).sum(1).unique().tolist() == [9]
    counts = task(count=14).masks(64, rng).sum(1)
    assert counts.max() == 14 and counts.min() < 14


@pytest.mark.parametrize("targets", ["pixels", "normalised pixels"])
def test_pixels_instead_of_codes(targets, rng):
    one = BEiTTask(network(codes=48), masking="random", count=9, targets=targets)
    ready = one.prepare(batch(), rng)
    assert one.tokenizer is None and "codes" not in ready and ready["pixels"].shape == (8, 36, 48)
    assert (ready["pixels"].std(-1).mean() > 0.95) == (targets == "normalised pixels")
    found = one.model(ready["image"], ready["hidden"]).logits
    wanted = (found - ready["pixels"][ready["hidden"]]).square().mean()
    torch.testing.assert_close(one(ready)["MIM"].mean, wanted)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"masking": "stripes"}, "masking is 'stripes'; choose one of blockwise, random"),
        ({"targets": "edges"}, "targets are 'edges'; choose one of codes, pixels, normalised pixels"),
    ],
)
def test_unknown_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        task(**options)


def test_tokenizers_that_do_not_fit_are_refused():
    for config in (TOKENIZER.replace(codes=21), TOKENIZER.replace(image_size=20), None):
        with pytest.raises(ValueError, match=r"the tokenizer has .* the network \(6, 20\); make them equal"):
            BEiTTask(network(), None if config is None else VisualTokenizer(config))


def test_a_tiny_batch_is_learnt_by_heart(rng):
    one = task(masking="random", count=9)
    examples = one.prepare(batch(), rng)
    optimiser = torch.optim.AdamW(one.parameters(), 1e-2, weight_decay=0.0)
    first = one(examples)["MIM"].mean.item()
    for _ in range(120):
        optimiser.zero_grad()
        loss = one(examples)["MIM"].mean
        loss.backward()
        optimiser.step()
    assert loss < 0.5 < first
    with torch.no_grad():
        right = one.model.complete(examples["image"], examples["hidden"]) == examples["codes"][examples["hidden"]]
    assert right.double().mean() > 0.9


# Fine-tuning


def test_fine_tuning_takes_the_blocks_and_gives_the_shared_bias_to_each_layer():
    model = shaken(network())
    classifier = BEiTClassifier.from_pretraining(model, classes=6)
    assert classifier.config.relative == "layers" and classifier.config.classes == 6
    assert len(classifier.relative) == 2
    assert all(torch.equal(one.table, model.relative.table) for one in classifier.relative)
    assert classifier.relative[0].table is not classifier.relative[1].table
    theirs = dict(model.tower.named_parameters())
    for name, parameter in classifier.tower.named_parameters():
        assert torch.equal(parameter, theirs[name]) == (not name.startswith("norm")), name
    assert torch.equal(classifier.tower.norm.weight, torch.ones(32))
    assert classifier.head.weight.shape == (6, 32) and classifier.head.weight.abs().max() < 1e-4
    assert not any("mask_token" in name for name in classifier.state_dict())
    classifier.relative[0].table.data.zero_()
    assert model.relative.table.abs().max() > 0, "the network that was pre-trained stays as it is"


@torch.no_grad()
def test_the_classifier_starts_from_the_same_tokens():
    """With nothing hidden, pre-training's tokens are the norm of what the classifier's blocks put out."""
    model = shaken(network())
    classifier, image = BEiTClassifier.from_pretraining(model, classes=6).eval(), torch.randn(2, 3, 24, 24)
    out = classifier(image)
    torch.testing.assert_close(model.tower.norm(out.tokens), model(image, torch.zeros(2, 36).bool()).tokens)
    torch.testing.assert_close(out.features, classifier.tower.norm(out.tokens[:, 1:].mean(1)))
    torch.testing.assert_close(out.logits, classifier.head(out.features))


@pytest.mark.parametrize("relative", ["none", "layers"])
def test_fine_tuning_from_other_position_schemes(relative):
    model = shaken(network(relative=relative, tower=TOWER.replace(positions=True)))
    classifier = BEiTClassifier.from_pretraining(model, classes=3)
    assert classifier.config.relative == relative
    assert torch.equal(classifier.tower.positions.weight, model.tower.positions.weight)
    if relative == "layers":
        assert torch.equal(classifier.relative[1].table, model.relative[1].table)


def test_all_classes_are_nearly_equally_likely_at_first(rng):
    fine = ViTTask(BEiTClassifier(network().config))
    loss = fine(fine.prepare(batch(), rng))["cross_entropy"].mean.item()
    assert loss == pytest.approx(math.log(6), abs=1e-3)
