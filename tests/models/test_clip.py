"""CLIP: what its towers may see, how texts end, its temperature, its task."""

import math

import pytest
import torch
import torch.nn.functional as F

from tinyvlm.encoders import TextConfig, VisionConfig
from tinyvlm.layers import record_attention
from tinyvlm.models import CLIP, CLIPConfig, CLIPTask
from tinyvlm.objectives import alone, info_nce

END = 29  # the largest of 30 ids
CONFIG = CLIPConfig(
    vision=VisionConfig(
        image_size=12, patch=4, width=32, layers=2, heads=4, hidden=64, norm_before=True, patch_bias=False
    ),
    text=TextConfig(vocabulary=30, context=9, width=32, layers=2, heads=4, hidden=64, token_std=0.3),
    embedding=16,
)


def clip(**changes) -> CLIP:
    return CLIP(CONFIG.replace(**changes)).eval()


def texts(ends: tuple[int, ...] = (3, 5, 8)) -> tuple[torch.Tensor, torch.Tensor]:
    """Random words with END at the given places, 0 behind it; and the mask of real tokens."""
    ids = torch.randint(1, END, (len(ends), 9), generator=torch.Generator().manual_seed(2))
    mask = torch.arange(9)[None] <= torch.tensor(ends)[:, None]
    for row, place in enumerate(ends):
        ids[row, place], ids[row, place + 1 :] = END, 0
    return ids, mask


def batch(pairs: int = 8) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    ids, mask = texts(tuple(2 + i % 7 for i in range(pairs)))
    image = torch.randint(0, 256, (pairs, 3, 12, 12), generator=generator, dtype=torch.uint8)
    return {"image": image, "text": ids, "text_mask": mask}


def with_negatives(given: dict[str, torch.Tensor], count: int = 2) -> dict[str, torch.Tensor]:
    changed = torch.stack([given["text"].roll(1 + n, 0) for n in range(count)], 1)
    masks = torch.stack([given["text_mask"].roll(1 + n, 0) for n in range(count)], 1)
    admitted = torch.arange(len(changed) * count).reshape(-1, count) % 3 > 0
    return {**given, "negatives": changed, "negatives_text_mask": masks, "negatives_mask": admitted}


def test_embeddings_are_unit_vectors_from_pooled_tokens():
    model, image = clip(), torch.randn(4, 3, 12, 12)
    ids, mask = texts()
    out = model(image, ids, mask)
    torch.testing.assert_close(out.image.norm(dim=-1), torch.ones(4))
    torch.testing.assert_close(out.text.norm(dim=-1), torch.ones(3))
    pictures = model.vision(image)[:, 0] @ model.image_projection.weight.T
    words = torch.stack([model.text(ids, mask)[i, place] for i, place in enumerate((3, 5, 8))])
    torch.testing.assert_close(out.image, F.normalize(pictures, dim=-1))
    torch.testing.assert_close(out.text, F.normalize(words @ model.text_projection.weight.T, dim=-1))
    torch.testing.assert_close(out.logits, out.scale * (out.image @ out.text.T))
    torch.testing.assert_close(model.encode_image(image), out.image)
    torch.testing.assert_close(model.encode_text(ids, mask), out.text)
    assert out.logits.shape == (4, 3) and out.scale.item() == pytest.approx(1 / 0.07, rel=1e-5)
    assert model.image_projection.bias is None and model.text_projection.bias is None


@pytest.mark.parametrize(("image_pool", "text_pool"), [("mean", "mean"), ("first", "mean"), ("mean", "last")])
def test_mean_pooling_takes_real_tokens_only(image_pool, text_pool):
    model, image = clip(image_pool=image_pool, text_pool=text_pool), torch.randn(2, 3, 12, 12)
    ids, mask = texts()
    tokens, states = model.vision(image), model.text(ids, mask)
    picture = tokens.mean(1) if image_pool == "mean" else tokens[:, 0]
    expected = F.normalize(picture @ model.image_projection.weight.T, dim=-1)
    torch.testing.assert_close(model.encode_image(image), expected)
    rows = [
        states[i, : place + 1].mean(0) if text_pool == "mean" else states[i, place] for i, place in enumerate((3, 5, 8))
    ]
    expected = F.normalize(torch.stack(rows) @ model.text_projection.weight.T, dim=-1)
    torch.testing.assert_close(model.encode_text(ids, mask), expected)


def test_nothing_behind_the_end_changes_a_text_and_everything_before_does():
    model = clip().double()
    ids, mask = texts((4, 4, 4))
    before = model.encode_text(ids, mask)
    for place in range(9):
        changed = ids.clone()
        changed[:, place] = (ids[:, place] + 1) % 29
        difference = (model.encode_text(changed, mask) - before).abs().amax(1)
        if place > 4:
            assert (difference < 1e-12).all()
        else:
            assert (difference > 1e-4).all()


def test_padding_changes_nothing():
    model = clip().double()
    ids, mask = texts((4, 4, 4))
    torch.testing.assert_close(model.encode_text(ids[:, :5], mask[:, :5]), model.encode_text(ids, mask))


def test_mask_largest_id_and_given_end_agree():
    ids, mask = texts()
    model, given = clip(), clip(end_id=END)
    given.load_state_dict(model.state_dict())
    expected = model.encode_text(ids, mask)
    torch.testing.assert_close(model.encode_text(ids), expected)
    torch.testing.assert_close(given.encode_text(ids), expected)
    # An end token that is not the largest id, the first of two counting.
    seven = clip(end_id=7)
    seven.load_state_dict(model.state_dict())
    ids = torch.where((ids == 7) | (ids == END), 8, ids)
    ids[:, 2], ids[:, 6], ids[:, 4] = 7, 7, END
    shorter = torch.arange(9).expand(3, 9) <= 2
    torch.testing.assert_close(seven.encode_text(ids), model.encode_text(ids, shorter))
    assert not torch.allclose(model.encode_text(ids), seven.encode_text(ids), atol=1e-3)


def test_a_text_padded_on_the_left_is_refused_and_would_have_been_another():
    model = clip()
    ids, mask = texts((4, 4, 4))
    right = model.encode_text(ids, mask)
    with pytest.raises(ValueError, match=r"mask is True behind padding.* pad on the right"):
        model.encode_text(ids.roll(4, 1), mask.roll(4, 1))
    words = model.text(ids.roll(4, 1), mask.roll(4, 1))[:, 8] @ model.text_projection.weight.T
    assert (F.normalize(words, dim=-1) - right).abs().max() > 0.1
    holes = mask.clone()
    holes[1, 2] = False
    with pytest.raises(ValueError, match="mask is True behind padding"):
        model.encode_text(ids, holes)


@pytest.mark.parametrize("end", [7, None])
def test_texts_without_their_end_are_refused(end):
    model = clip(end_id=end)
    ids, mask = texts()
    ids = torch.where(ids == 7, 8, ids)
    if end is not None:
        ids = torch.where(ids == END, end, ids)
    model.encode_text(ids)
    ids[1, 5] = 3
    with pytest.raises(ValueError, match=r"text 1 has no end token \((7|the largest id of all)\): add it"):
        model.encode_text(ids)
    assert model.encode_text(ids, mask).isfinite().all()  # the mask says where it ends


def test_swapping_pictures_or_texts_swaps_logits():
    model, image = clip(), torch.randn(3, 3, 12, 12)
    ids, mask = texts()
    logits, order = model(image, ids, mask).logits, torch.tensor([2, 0, 1])
    assert logits.std() > 0.01
    torch.testing.assert_close(model(image[order], ids, mask).logits, logits[order])
    torch.testing.assert_close(model(image, ids[order], mask[order]).logits, logits[:, order])
    assert not torch.allclose(logits[order], logits, atol=1e-3)


def test_the_zero_shot_classifier_normalises_twice():
    model = clip()
    with torch.no_grad():
        ids, mask = texts((3, 5, 8, 2, 7, 6))
        weights = model.classifier(ids.reshape(2, 3, 9), mask.reshape(2, 3, 9))
        for c in range(2):
            prompts = []
            for p in range(3):
                row = 3 * c + p
                raw = model.text_projection(model.text(ids[row : row + 1], mask[row : row + 1])[0, mask[row].sum() - 1])
                prompts.append(raw / raw.norm())
            mean = sum(prompts) / 3
            assert mean.norm() < 0.999, "prompts that agree would hide the second normalisation"
            torch.testing.assert_close(weights[c], mean / mean.norm())


def test_the_first_scale_and_the_clip_after_each_step():
    model = clip(temperature=0.5, largest_scale=20.0)
    task = CLIPTask(model)
    assert model.log_scale.exp().item() == pytest.approx(2.0)
    for start, after in ((3.5, math.log(20)), (1.5, 1.5), (-4.0, -4.0)):
        model.log_scale.data.fill_(start)
        task.after_step({})
        assert model.log_scale.item() == pytest.approx(after)
    assert CLIPConfig().largest_scale == 100.0 and CLIPConfig().temperature == 0.07


def test_a_fixed_temperature_stays_and_gets_no_gradient(rng):
    learned, fixed = CLIPTask(clip()), CLIPTask(clip(), temperature=1.0)
    assert fixed.model.log_scale.item() == 0.0
    for task in (learned, fixed):
        task(task.prepare(batch(), rng))["contrastive"].mean.backward()
    assert learned.model.log_scale.grad.abs() > 0 and fixed.model.log_scale.grad is None
    assert not fixed.model.log_scale.requires_grad
    assert fixed.model.image_projection.weight.grad.abs().max() > 0


def test_the_task_is_info_nce_of_the_networks_embeddings(rng):
    task = CLIPTask(clip(), gather=alone)
    prepared = task.prepare(batch(), rng)
    torch.testing.assert_close(prepared["image"], batch()["image"].float() / 127.5 - 1)
    term = task(prepared)["contrastive"]
    out = task.model(prepared["image"], prepared["text"], prepared["text_mask"])
    target = torch.arange(8)
    expected = (F.cross_entropy(out.logits, target) + F.cross_entropy(out.logits.T, target)) / 2
    torch.testing.assert_close(term.mean, expected)
    assert term.count.item() == 8
    torch.testing.assert_close(term.sum, 8 * expected)


def test_negatives_reach_the_loss_with_their_own_masks(rng):
    task = CLIPTask(clip())
    prepared = task.prepare(with_negatives(batch()), rng)
    model = task.model
    negatives = torch.stack(
        [model.encode_text(prepared["negatives"][:, n], prepared["negatives_text_mask"][:, n]) for n in range(2)], 1
    )
    image, text = model.encode_image(prepared["image"]), model.encode_text(prepared["text"], prepared["text_mask"])
    admitted = prepared["negatives_mask"]
    expected = info_nce(image, text, model.log_scale.exp(), negatives=negatives, admitted=admitted).sum()
    term = task(prepared)["contrastive"]
    torch.testing.assert_close(term.sum, expected)
    assert term.count.item() == 8
    plain = task({name: value for name, value in prepared.items() if "negatives" not in name})["contrastive"]
    assert not torch.allclose(plain.sum, term.sum, atol=1e-3)


def test_a_batch_of_one_is_refused(rng):
    task = CLIPTask(clip())
    with pytest.raises(ValueError, match="the batch holds 1 pair"):
        task(task.prepare(batch(1), rng))


def test_every_parameter_is_used(rng):
    task = CLIPTask(clip())
    task(task.prepare(batch(), rng))["contrastive"].mean.backward()
    for name, parameter in task.named_parameters():
        if ".k.bias" not in name:  # the softmax takes a shift of all logits out again
            assert parameter.grad.abs().max() > 0, name


def test_initial_weights_are_finite_and_scaled_by_width():
    config = CONFIG.replace(vision=CONFIG.vision.replace(width=256, heads=4), embedding=300)
    model = CLIP(config)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert model.image_projection.weight.std().item() == pytest.approx(1 / 16, rel=0.05)
    assert model.vision.class_token.std().item() == pytest.approx(1 / 16, rel=0.2)
    assert model.vision.blocks[0]["attention"].branch.q.weight.std().item() == pytest.approx(1 / 16, rel=0.05)
    assert model.text.blocks[0]["mlp"].branch.up.weight.std().item() == pytest.approx(1 / 8, rel=0.1)


@pytest.mark.parametrize("negatives", [False, True], ids=["pairs", "with negatives"])
def test_a_tiny_batch_is_learnt_by_heart(rng, negatives):
    task = CLIPTask(CLIP(CONFIG))
    examples = task.prepare(with_negatives(batch()) if negatives else batch(), rng)
    optimiser = torch.optim.AdamW(task.parameters(), 3e-3, weight_decay=0.0)
    first = task(examples)["contrastive"].mean.item()
    for _ in range(50):
        optimiser.zero_grad()
        loss = task(examples)["contrastive"].mean
        loss.backward()
        optimiser.step()
        task.after_step({})
    assert first > 1.5 and loss.item() < 0.1 < math.log(8)
    out = task.model.eval()(examples["image"], examples["text"], examples["text_mask"])
    assert torch.equal(out.logits.argmax(1), torch.arange(8)) and torch.equal(out.logits.argmax(0), torch.arange(8))


def test_micro_runs_its_own_sizes():
    model = CLIP.named("micro")
    vision, text = model.config.vision, model.config.text
    ids = torch.randint(1, text.vocabulary, (2, text.context))
    out = model(torch.randn(2, 3, vision.image_size, vision.image_size), ids, torch.ones_like(ids, dtype=torch.bool))
    assert out.logits.shape == (2, 2) and torch.isfinite(out.logits).all()
    with pytest.raises(
        ValueError, match=f"text has {text.context + 1} tokens, this model reads at most {text.context}"
    ):
        model.encode_text(torch.full((1, text.context + 1), model.config.end_id))


def test_recorded_attention_of_the_text_tower_is_causal():
    model, (ids, mask) = clip(), texts()
    with record_attention(model) as maps:
        model.encode_text(ids, mask)
        model.encode_image(torch.randn(2, 3, 12, 12))
    later = torch.ones(9, 9).triu(1).bool()
    assert set(maps) == {f"{tower}.blocks.{n}.attention.branch" for tower in ("text", "vision") for n in range(2)}
    for name, kept in maps.items():
        assert len(kept) == 1 and kept[0].shape[1] == 4
        if name.startswith("text"):
            assert (kept[0][..., later] == 0).all() and (kept[0][..., ~later] > 0).all()
