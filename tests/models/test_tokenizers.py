"""Visual tokenizers: codes and pictures of both kinds, how they learn, and dead codes."""

import math

import pytest
import torch
import torch.nn.functional as F

from tinyvlm.models.tokenizers import Bottleneck, TokenizerConfig, TokenizerTask, VisualTokenizer
from tinyvlm.objectives.quantising import nearest_code, perplexity, uniform_divergence

SMALL = dict(image_size=12, codes=10, code_width=6, widths=(8, 12), strides=(2, 3), blocks=1, laplace=False)
KINDS = pytest.mark.parametrize("kind", ["vq", "dvae"])


def tokenizer(kind: str = "vq", **changes) -> VisualTokenizer:
    torch.manual_seed(0)
    return VisualTokenizer(TokenizerConfig(**{**SMALL, "kind": kind, **changes}))


def batch(size: int = 16) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {"image": torch.randint(0, 256, (size, 3, 12, 12), generator=generator, dtype=torch.uint8)}


@KINDS
@torch.no_grad()
def test_pictures_become_codes_and_codes_pictures(kind):
    model, image = tokenizer(kind), torch.randn(3, 3, 12, 12)
    codes = model.codes(image)
    assert codes.shape == (3, 4) and codes.dtype == torch.int64 and 0 <= codes.min() and codes.max() < 10
    assert model.decode(codes).shape == (3, 3, 12, 12)
    torch.testing.assert_close(model(image), model.decode(codes))
    encoded = model.encode(image)
    grid = model.encoder(image)
    assert torch.equal(encoded[:, 1], grid[:, :, 0, 1]) and torch.equal(encoded[:, 2], grid[:, :, 1, 0])
    wanted = (
        encoded.argmax(-1) if kind == "dvae" else torch.stack([nearest_code(e, model.codebook.weight) for e in encoded])
    )
    assert torch.equal(codes, wanted)


@torch.no_grad()
def test_a_bottleneck_by_hand():
    for into, out in ((8, 8), (8, 12)):
        block, x = Bottleneck(into, out, (3, 3, 3, 1), gain=0.25), torch.randn(2, into, 5, 5)
        y = x
        for convolution in block.convolutions:
            y = F.conv2d(F.relu(y), convolution.weight, convolution.bias, padding=convolution.kernel_size[0] // 2)
        short = x if into == out else F.conv2d(x, block.shortcut.weight, block.shortcut.bias)
        torch.testing.assert_close(block(x), short + 0.25 * y)
        assert [c.out_channels for c in block.convolutions] == [out // 4] * 3 + [out]


def test_the_papers_encoder_and_decoder_on_the_meta_device():
    """DALL-E's: 53,786,240 and 43,829,766; its decoder's first layer has a bias that a codebook makes needless."""
    with torch.device("meta"):
        model = VisualTokenizer.named("DALL-E")
    assert sum(p.numel() for p in model.encoder.parameters()) == 53_786_240
    assert model.codebook.weight.numel() + sum(p.numel() for p in model.decoder.parameters()) == 43_829_766 - 128
    blocks = [one for one in model.encoder if isinstance(one, Bottleneck)]
    assert len(blocks) == 8 and all(one.gain == 1 / 64 for one in blocks)
    assert model.config.side == 14 and model.encoder[-1].out_channels == 8192 and model.decoder[-2].out_channels == 6


@torch.no_grad()
def test_a_laplace_tokenizer_draws_pixels_within_their_range():
    model = tokenizer("dvae", laplace=True)
    image = torch.rand(2, 3, 12, 12) * 2 - 1
    assert model.draw(model.codebook(model.codes(image))).shape == (2, 6, 12, 12)
    # The median of the middle of the scale: logit 0 is pixel 0.5, that is 0 between -1 and 1.
    for part in (model.decoder[-2].weight, model.decoder[-2].bias):
        part.zero_()
    torch.testing.assert_close(model(image), torch.zeros(2, 3, 12, 12))


@KINDS
def test_the_losses_are_the_papers(kind, rng):
    model = tokenizer(kind)
    task = TokenizerTask(model, beta=0.5, steps=10)
    ready = task.prepare(batch(), rng)
    terms = {name: term.mean for name, term in task(ready).items()}
    encoded = model.encode(ready["image"])
    if kind == "vq":
        chosen = model.codebook(model.codes(ready["image"]))
        torch.testing.assert_close(terms["codebook_loss"], (encoded - chosen).square().mean())
        torch.testing.assert_close(terms["commitment"], 0.5 * (encoded - chosen).square().mean())
        drawn = model.draw(chosen)
    else:
        assert terms.keys() == {"reconstruction", "divergence"}
        torch.testing.assert_close(terms["divergence"], 0.5 * uniform_divergence(encoded).mean())
        gumbel = -torch.log(-torch.log(ready["uniforms"].clamp(1e-9, 1 - 1e-7)))
        drawn = model.draw(((encoded + gumbel) / ready["temperature"]).softmax(-1) @ model.codebook.weight)
    torch.testing.assert_close(terms["reconstruction"], (drawn - ready["image"]).square().mean())


@KINDS
@torch.no_grad()
def test_a_local_tokenizer_sees_and_draws_each_patch_alone(kind):
    model, image = tokenizer(kind, strides=(6,), widths=(8,), local=True), torch.randn(2, 3, 12, 12)
    other = image.clone()
    other[:, :, :6, 6:] = torch.randn(2, 3, 6, 6)
    same = torch.tensor([True, False, True, True])
    found, before = model.encode(other), model.encode(image)
    assert torch.equal(found[:, same], before[:, same]) and not torch.equal(found[:, 1], before[:, 1])
    codes = torch.tensor([[0, 1, 2, 3], [0, 9, 2, 3]])
    one, two = model.decode(codes)
    assert torch.equal(one[:, 6:], two[:, 6:]) and not torch.equal(one[:, :6, 6:], two[:, :6, 6:])
    wide = tokenizer(kind, strides=(2, 3), widths=(8, 12))
    assert not torch.equal(wide.encode(other)[:, same], wide.encode(image)[:, same])


def test_who_learns_from_which_loss(rng):
    """VQ-VAE: pixels and commitment teach the encoder, the second term the codebook, pixels the decoder."""
    for name, parts in {
        "reconstruction": {"encoder", "decoder"},
        "codebook_loss": {"codebook"},
        "commitment": {"encoder"},
    }.items():
        model = tokenizer("vq")
        task = TokenizerTask(model)
        task(task.prepare(batch(), rng))[name].mean.backward()
        moved = {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        assert moved == parts, name


def test_a_dvaes_temperature_falls_to_a_sixteenth(rng):
    task = TokenizerTask(tokenizer("dvae"), steps=4)
    found = []
    for _ in range(6):
        ready = task.prepare(batch(), rng)
        found.append(float(ready["temperature"]))
        task.after_step(ready)
    assert found == pytest.approx([1, 0.5, 0.25, 0.125, 1 / 16, 1 / 16])


def test_codes_that_are_not_used_restart_at_vectors_of_the_batch(rng):
    model = tokenizer("vq")
    with torch.no_grad():
        model.codebook.weight[1:] = 1e3  # all pictures use code 0
    task = TokenizerTask(model, patience=20)
    ready = task.prepare(batch(), rng)
    before = model.codebook.weight.clone()
    for updates in range(30):
        assert perplexity(model.codes(ready["image"]), 10).item() == pytest.approx(1), updates
        assert torch.equal(model.codebook.weight, before)
        task.after_step(ready)
    encoded = model.encode(ready["image"]).flatten(0, 1)
    assert torch.equal(model.codebook.weight[0], before[0])
    assert torch.equal(model.codebook.weight[1:], encoded[ready["restart"][1:]])
    assert perplexity(model.codes(ready["image"]), 10) > 4 and task.idle.max() == 0
    kept = TokenizerTask(tokenizer("vq"), patience=0)
    for _ in range(30):
        kept.after_step(ready)
    assert kept.idle.max() == 0


def test_a_codebook_that_starts_from_k_means_is_in_use(rng):
    model, image = tokenizer("vq", codes=24), torch.randn(64, 3, 12, 12)
    cold = perplexity(model.codes(image), 24)
    model.start_codebook(image, rng)
    assert perplexity(model.codes(image), 24) > max(2 * cold, 12)
    other = tokenizer("dvae")
    before = other.codebook.weight.clone()
    other.start_codebook(image, rng)
    assert torch.equal(other.codebook.weight, before)


@KINDS
def test_a_tiny_batch_is_learnt(kind, rng):
    model = tokenizer(kind, codes=32)
    task = TokenizerTask(model, beta=0.25 if kind == "vq" else 0.0, steps=60)
    grid = torch.randint(0, 2, (16, 3, 2, 2), generator=rng)
    given = {"image": (255 * grid).to(torch.uint8).repeat_interleave(6, 2).repeat_interleave(6, 3)}
    model.start_codebook(given["image"] / 127.5 - 1, rng)
    optimiser = torch.optim.AdamW(task.parameters(), 1e-2, weight_decay=0.0)
    for _ in range(120):
        ready = task.prepare(given, rng)
        optimiser.zero_grad()
        sum(term.mean for term in task(ready).values()).backward()
        optimiser.step()
        task.after_step(ready)
    with torch.no_grad():
        assert (model(ready["image"]) - ready["image"]).square().mean() < 0.3 < ready["image"].var()


def test_configurations_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="1 strides for 2 groups; give one a group"):
        TokenizerConfig(**{**SMALL, "strides": (6,)})
    with pytest.raises(ValueError, match="image_size 13 is not a multiple of the stride 6"):
        TokenizerConfig(**{**SMALL, "image_size": 13})
    config = TokenizerConfig(**SMALL)
    assert (config.stride, config.side) == (6, 2) and math.prod(config.strides) == 6


@KINDS
def test_a_round_trip_through_files(kind, tmp_path):
    model, image = tokenizer(kind), torch.randn(2, 3, 12, 12)
    again = VisualTokenizer.from_pretrained(model.save_pretrained(tmp_path))
    assert torch.equal(again.codes(image), model.codes(image)) and again.config == model.config
