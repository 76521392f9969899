"""MaskVLM: two encoders, two cross-encoders, a decoder that reads the caption; one modality masked in each pass."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyvlm.encoders import BertConfig, VisionConfig
from tinyvlm.interop.bert import bert_from_hf
from tinyvlm.interop.hf import vit_from_hf
from tinyvlm.models import MaskVLM, MaskVLMConfig, MaskVLMTask, maskvlm_task
from tinyvlm.objectives import info_nce, uniform_rates
from tinyvlm.objectives.reconstruction import patchify
from tinyvlm.training import Optimiser, Stage, fit

VISION = VisionConfig(image_size=8, patch=4, width=16, layers=1, heads=4, hidden=24, class_token=False)
BERT = BertConfig(
    vocabulary=30, context=9, types=0, width=16, layers=1, heads=2, hidden=32, eps=1e-5, std=0.3, word_std=0.5
)
CONFIG = MaskVLMConfig(vision=VISION, bert=BERT, cross=2, decoder=1, embedding=8, first_place=0, pool="mean", mask_id=3)
PAIRS, RATES = 6, uniform_rates(30, 5, 0.4)
LOSSES = ("ITC", "ITM", "MLM", "MIM")
Batch = dict[str, Tensor]


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers", reason="the comparison needs the extra `hub`")


def network(**changes) -> MaskVLM:
    torch.manual_seed(1)
    model = MaskVLM(CONFIG.replace(**changes)).eval()
    nn.init.normal_(model.mask_token)
    return model


def task_of(model: MaskVLM | None = None, **options) -> MaskVLMTask:
    return MaskVLMTask(model or network(), RATES, **{"block": 4, "share": 0.5, "power": 2, **options}).eval()


def texts(lengths: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Random words of the given lengths with 0 behind them; and the mask of real tokens."""
    ids = torch.randint(5, 30, (len(lengths), 9), generator=torch.Generator().manual_seed(2))
    mask = torch.arange(9)[None] < torch.tensor(lengths)[:, None]
    return ids.masked_fill(~mask, 0), mask


def batch(pairs: int = PAIRS, **more: Tensor) -> Batch:
    ids, mask = texts(tuple(4 + i % 6 for i in range(pairs)))
    image = torch.randint(0, 256, (pairs, 3, 8, 8), generator=torch.Generator().manual_seed(4), dtype=torch.uint8)
    return {"image": image, "text": ids, "text_mask": mask, **more}


def prepared(task: MaskVLMTask, given: Batch | None = None, seed: int = 0) -> Batch:
    return task.prepare(given or batch(), torch.Generator().manual_seed(seed))


def pictures(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(5))


HIDDEN = torch.tensor([[True, False, False, True], [False, True, False, False], [True, True, True, True]])


# The network


def test_shapes_unit_vectors_and_the_score():
    model, image, (ids, mask) = network(), pictures(), texts((5, 7, 9))
    out = model(image, ids, mask)
    assert out.image.shape == out.text.shape == (3, 8)
    assert out.fused_image.shape == (3, 4, 16) and out.fused_text.shape == (3, 9, 16)
    torch.testing.assert_close(torch.cat([out.image, out.text]).norm(dim=-1), torch.ones(6))
    torch.testing.assert_close(out.score.sigmoid(), out.matching.softmax(-1)[:, 1])
    torch.testing.assert_close((model.encode_image(image), model.encode_text(ids, mask)), (out.image, out.text))
    assert model.reconstruct(image, HIDDEN, ids, mask).shape == image.shape


def test_matching_multiplies_the_vectors_of_both_cross_encoders():
    image, (ids, mask) = pictures(), texts((5, 7, 9))
    for model in (network(), network(pool="first")):
        out = model(image, ids, mask)
        for i in range(3):
            parts = out.fused_image[i], out.fused_text[i][mask[i]]
            one, other = (part[0] if model.config.pool == "first" else part.mean(0) for part in parts)
            torch.testing.assert_close(out.matching[i], model.match(one * other))


@pytest.mark.parametrize("how", ["first", "mean"])
def test_padding_and_neighbours_in_the_batch_change_nothing(how):
    model = network(pool=how).double()
    image, (ids, mask) = pictures().double(), texts((5, 7, 9))
    out, other = model(image, ids, mask), model(image, torch.where(mask, ids, 17), mask)
    painted = model.reconstruct(image, HIDDEN, ids, mask)
    torch.testing.assert_close(model.reconstruct(image, HIDDEN, torch.where(mask, ids, 17), mask), painted)
    torch.testing.assert_close(other.fused_text[mask], out.fused_text[mask])
    for i in range(3):
        rows = (ids[i : i + 1, : 5 + 2 * i], mask[i : i + 1, : 5 + 2 * i])
        alone = model(image[i : i + 1], *rows)
        for name in ("image", "text", "fused_image", "matching"):
            torch.testing.assert_close(getattr(alone, name)[0], getattr(out, name)[i])
            torch.testing.assert_close(getattr(other, name), getattr(out, name))
        torch.testing.assert_close(model.reconstruct(image[i : i + 1], HIDDEN[i : i + 1], *rows)[0], painted[i])


def cut(model: MaskVLM, *stacks: str) -> None:
    """Cross-attention of these stacks returns the same whatever it attends to."""
    for stack in stacks:
        for block in getattr(model, stack):
            block["cross"].branch.v.weight.data.zero_()


def test_each_cross_encoder_sees_the_other_modality_in_cross_attention_only():
    image, (ids, mask) = pictures(), texts((5, 7, 9))
    for stack, shown, same in (("image_cross", "fused_image", "image"), ("text_cross", "fused_text", "text")):
        model = network()
        changed = (image, ids.flip(1).masked_fill(~mask, 0), mask) if same == "image" else (image.flip(0), ids, mask)
        one, other = model(image, ids, mask), model(*changed)
        assert torch.equal(getattr(one, same), getattr(other, same))
        assert not torch.allclose(getattr(one, shown), getattr(other, shown), atol=1e-3)
        cut(model, stack)
        torch.testing.assert_close(getattr(model(image, ids, mask), shown), getattr(model(*changed), shown))


def test_the_image_decoder_attends_to_the_caption_too():
    model, image, (ids, mask) = network(), pictures(), texts((5, 7, 9))
    other = ids.roll(1, 0), mask.roll(1, 0)
    cut(model, "image_cross")  # only the decoder is left to tell captions apart
    assert (model.reconstruct(image, HIDDEN, ids, mask) - model.reconstruct(image, HIDDEN, *other)).abs().max() > 0.01
    cut(model, "decoder")
    torch.testing.assert_close(model.reconstruct(image, HIDDEN, ids, mask), model.reconstruct(image, HIDDEN, *other))


def test_without_text_the_image_side_sees_no_word_and_the_text_side_still_sees_the_picture():
    model, image, (ids, mask) = network(see_text=False), pictures(), texts((5, 7, 9))
    other = ids.roll(1, 0), mask.roll(1, 0)
    assert torch.equal(model.reconstruct(image, HIDDEN, ids, mask), model.reconstruct(image, HIDDEN, *other))
    assert not torch.allclose(model(image, ids, mask).fused_text, model(image.flip(0), ids, mask).fused_text)
    seeing = network()
    seeing.load_state_dict(model.state_dict())  # one set of weights, two answers: the switch adds no parameter
    assert not torch.allclose(seeing.reconstruct(image, HIDDEN, ids, mask), model.reconstruct(image, HIDDEN, ids, mask))


def test_hidden_patches_do_not_matter_and_the_others_do():
    model, image, (ids, mask) = network(), pictures(), texts((5, 7, 9))
    tokens, painted = model.image_tokens(image, HIDDEN), model.reconstruct(image, HIDDEN, ids, mask)
    rows = HIDDEN.repeat_interleave(3 * 16, 1).view(3, 4, 3, 4, 4)
    hidden_pixels = torch.zeros(3, 3, 8, 8, dtype=torch.bool)
    for place in range(4):
        top, left = 4 * (place // 2), 4 * (place % 2)
        hidden_pixels[:, :, top : top + 4, left : left + 4] = rows[:, place]
    torch.testing.assert_close(model.image_tokens(torch.where(hidden_pixels, 9.0, image), HIDDEN), tokens)
    torch.testing.assert_close(model.reconstruct(torch.where(hidden_pixels, 9.0, image), HIDDEN, ids, mask), painted)
    moved = (model.image_tokens(torch.where(hidden_pixels, image, 9.0), HIDDEN) - tokens).abs().amax((1, 2))
    assert moved[0] > 0.01 and moved[1] > 0.01 and moved[2] < 1e-6  # nothing is left to see in the third
    assert torch.equal(model.image_tokens(image, torch.zeros_like(HIDDEN)), model.image_tokens(image))
    assert torch.equal(model.image_tokens(image), model.vision(image))


def test_a_class_token_is_no_patch():
    model = network(vision=VISION.replace(class_token=True), pool="first")
    image, (ids, mask) = pictures(), texts((5, 7, 9))
    assert model.image_tokens(image, HIDDEN).shape == (3, 5, 16)
    tokens, words = model.image_tokens(image, HIDDEN), model.text_tokens(ids, mask)
    painted = model.decode(model.fuse_image(tokens, words, mask), words, mask)
    torch.testing.assert_close(patchify(model.reconstruct(image, HIDDEN, ids, mask), 4), painted)
    assert painted.shape == (3, 4, 48)


def test_both_modalities_are_equally_wide():
    with pytest.raises(ValueError, match="image tokens are 16 wide and text tokens 20; matching multiplies them"):
        CONFIG.replace(bert=BERT.replace(width=20))


def test_a_saved_model_answers_alike(tmp_path):
    model, image, (ids, mask) = network(), pictures(2), texts((5, 9))
    model.save_pretrained(tmp_path)
    again = MaskVLM.from_pretrained(tmp_path)
    assert again.config == model.config
    assert torch.equal(again.reconstruct(image, HIDDEN[:2], ids, mask), model.reconstruct(image, HIDDEN[:2], ids, mask))


# The task


def alone(model: MaskVLM, given: Batch, both: bool = False) -> dict[str, Tensor]:
    """What each loss reads, each from a pass of its own: nothing is concatenated."""
    image, ids, mask = given["image"], given["text"], given["text_mask"]
    tokens, words = model.image_tokens(image), model.text_tokens(ids, mask)
    masked_tokens, masked_words = model.image_tokens(image, given["hidden"]), model.text_tokens(given["masked"], mask)
    seen_tokens, seen_words = (masked_tokens, masked_words) if both else (tokens, words)
    painted = model.decode(model.fuse_image(masked_tokens, seen_words, mask), seen_words, mask)
    fused = model.fuse_text(masked_words, mask, seen_tokens)
    logits = model.word(fused.flatten(0, 1), model.embedding.words).unflatten(0, mask.shape)
    return {"tokens": tokens, "words": words, "painted": painted, "logits": logits}


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("power", [1, 2])
def test_the_concatenated_batch_gives_what_separate_passes_give(both, power):
    """Hidden words and pixels against loops over each hidden place, with one modality masked, and with both."""
    task = task_of(both_masked=both, power=power)
    given = prepared(task)
    terms, by_itself = task(given), alone(task.model, given, both)
    total = 0.0
    for i, place in given["chosen"].nonzero().tolist():
        total -= by_itself["logits"][i, place].log_softmax(-1)[given["text"][i, place]].item()
    assert terms["MLM"].sum.item() == pytest.approx(total, rel=1e-4)
    assert terms["MLM"].count.item() == given["chosen"].sum().item() > 0
    true, total = patchify(given["image"], 4), 0.0
    for i, place in given["hidden"].nonzero().tolist():
        total += (by_itself["painted"][i, place] - true[i, place]).abs().pow(power).mean().item()
    assert terms["MIM"].sum.item() == pytest.approx(total, rel=1e-4)
    assert terms["MIM"].count.item() == given["hidden"].sum().item() == 2 * PAIRS
    contrast = info_nce(
        task.model.embed_image(by_itself["tokens"]),
        task.model.embed_text(by_itself["words"], given["text_mask"]),
        1 / task.model.temperature,
    )
    assert terms["ITC"].mean.item() == pytest.approx(contrast.mean().item(), rel=1e-4)


def test_both_masked_is_another_loss_than_one_masked():
    one, both = task_of(), task_of(both_masked=True)
    given = prepared(one)
    ours, theirs = one(given), both(given)
    for name in ("MLM", "MIM"):
        assert abs(ours[name].mean.item() - theirs[name].mean.item()) > 1e-3
    for name in ("ITC", "ITM"):
        torch.testing.assert_close(ours[name].sum, theirs[name].sum)


def test_masks_never_reach_contrast_and_matching():
    """Other words and other patches are hidden: ITC and ITM stay, MLM and MIM do not."""
    task = task_of()
    given, other = prepared(task), prepared(task, seed=7)
    ours, theirs = task(given), task({**given, **{name: other[name] for name in ("masked", "chosen", "hidden")}})
    for name in ("ITC", "ITM"):
        torch.testing.assert_close(ours[name].sum, theirs[name].sum)
    for name in ("MLM", "MIM"):
        assert abs(ours[name].mean.item() - theirs[name].mean.item()) > 1e-4


def draws(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, ...]]:
    """Fixed negatives; the arguments of each draw are kept."""
    drawn = [torch.tensor([1, 2, 3, 4, 5, 0]), torch.tensor([2, 0, 4, 5, 1, 3])]
    asked: list[tuple[Tensor, ...]] = []
    monkeypatch.setattr(maskvlm_task, "draw_negatives", lambda *on: asked.append(on) or drawn[(len(asked) - 1) % 2])
    return asked


@pytest.mark.parametrize("masked", [False, True])
def test_matching_against_a_loop(monkeypatch, masked):
    """One positive to two negatives. The switch hides each cross-encoder's own modality, and keeps the other intact."""
    asked = draws(monkeypatch)
    task = task_of(itm_masked=masked)
    given, model = prepared(task), task.model
    image, ids, mask = given["image"], given["text"], given["text_mask"]
    rows = [(i, i, True) for i in range(PAIRS)]
    rows += [((i + 1) % PAIRS, i, False) for i in range(PAIRS)]
    rows += [(i, t, False) for i, t in enumerate([2, 0, 4, 5, 1, 3])]
    total = 0.0
    for i, t, together in rows:
        own = model.image_tokens(image[i : i + 1]), model.text_tokens(ids[t : t + 1], mask[t : t + 1])
        hidden = (
            model.image_tokens(image[i : i + 1], given["hidden"][i : i + 1]),
            model.text_tokens(given["masked"][t : t + 1], mask[t : t + 1]),
        )
        queries = hidden if masked else own
        fused = (
            model.fuse_image(queries[0], own[1], mask[t : t + 1]),
            model.fuse_text(queries[1], mask[t : t + 1], own[0]),
        )
        logits = model.matching(*fused, mask[t : t + 1])
        total += F.cross_entropy(logits, torch.tensor([int(together)])).item()
        if not masked:
            torch.testing.assert_close(model(image[i : i + 1], ids[t : t + 1], mask[t : t + 1]).matching, logits)
    term = task(given)["ITM"]
    assert term.sum.item() == pytest.approx(total, rel=1e-4) and term.count.item() == 3 * PAIRS
    near = model.encode_image(image) @ model.encode_text(ids, mask).T / model.temperature
    torch.testing.assert_close([one[0] for one in asked], [near.T, near])
    assert not any(one[0].requires_grad for one in asked)


@pytest.mark.parametrize("hard", [False, True])
def test_negatives_are_of_other_scenes_and_hard_where_asked(monkeypatch, hard):
    draw, calls = maskvlm_task.draw_negatives, []
    monkeypatch.setattr(maskvlm_task, "draw_negatives", lambda *on: calls.append((on, draw(*on))) or calls[-1][1])
    content, task = torch.tensor([0, 0, 1, 2, 2, 2]), task_of(hard=hard)
    for seed in range(10):
        given = prepared(task, batch(content=content), seed)
        task(given)
        assert [call[0][2].tolist() for call in calls[-2:]] == given["uniforms"].tolist()
    assert all((content[chosen] != content).all() for _, chosen in calls)
    assert all(bool(given[0].any()) == hard for given, _ in calls)
    assert len({tuple(chosen.tolist()) for _, chosen in calls}) > 5


ENCODERS = ("vision.", "embedding.", "text.")
REACHED = {
    "ITC": (*ENCODERS, "image_projection", "text_projection", "temperature"),
    "ITM": (*ENCODERS, "image_cross.", "text_cross.", "match"),
    "MLM": (*ENCODERS, "text_cross.", "word"),
    "MIM": (*ENCODERS, "mask_token", "image_cross.", "decoder.", "pixels"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_reaches_the_parts_that_it_should(name):
    task = task_of()
    task(prepared(task))[name].mean.backward()
    for parameter_name, parameter in task.model.named_parameters():
        reached = parameter.grad is not None and parameter.grad.abs().max().item() > 0
        # The softmax takes a shift of all logits out again.
        should = parameter_name.startswith(REACHED[name]) and ".k.bias" not in parameter_name
        if ".k.bias" not in parameter_name:
            assert reached == should, parameter_name


def test_all_four_losses_together_reach_every_parameter():
    task = task_of()
    terms = task(prepared(task))
    assert tuple(terms) == LOSSES
    sum(term.mean for term in terms.values()).backward()
    for name, parameter in task.model.named_parameters():
        if ".k.bias" not in name:
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("left_out", ["", "itc", "itm", "mlm", "mim", "mlm mim", "itc itm mlm", "itc itm mim"])
def test_an_objective_can_be_left_out(left_out):
    whole = task_of(hard=False)
    task = task_of(whole.model, hard=False, **dict.fromkeys(left_out.split(), False))
    full = prepared(whole)
    given = {name: value for name, value in full.items() if name in prepared(task)}
    assert ("masked" in given) == task.mlm and ("hidden" in given) == task.mim
    ours, theirs = task(given), whole(full)
    assert list(ours) == [name for name in LOSSES if name.lower() not in left_out]
    for name, term in ours.items():
        torch.testing.assert_close(term.sum, theirs[name].sum)


def test_specials_and_padding_are_never_hidden():
    task, (ids, mask) = task_of(), texts((4, 6, 9))
    ids[:, 0] = 4
    given, chosen = {**batch(3), "text": ids, "text_mask": mask}, torch.zeros(3, 9, dtype=torch.bool)
    for seed in range(60):
        ready = prepared(task, given, seed)
        chosen |= ready["chosen"]
        assert torch.equal(ready["masked"][~ready["chosen"]], ids[~ready["chosen"]])
        assert (ready["masked"] == 3).any()
    assert torch.equal(chosen, mask & (ids != 4))


def test_the_papers_masks_are_the_defaults():
    vision = VisionConfig(width=16, layers=1, heads=2, hidden=16)
    task = MaskVLMTask(MaskVLM(CONFIG.replace(vision=vision)), RATES)
    image = torch.zeros(3, 3, 224, 224, dtype=torch.uint8)
    ids, mask = texts((5, 7, 9))
    hidden = prepared(task, {"image": image, "text": ids, "text_mask": mask})["hidden"]
    assert task.power == 1 and hidden.shape == (3, 196) and (hidden.sum(1) == 4 * 30).all()


def test_the_temperature_is_clamped_after_a_step():
    task = task_of()
    for start, after in ((-1.0, 0.001), (0.2, 0.2), (3.0, 0.5)):
        task.model.temperature.data.fill_(start)
        task.after_step({})
        assert task.model.temperature.item() == pytest.approx(after)


def test_tasks_without_a_loss_or_without_masks_to_match_by_are_refused():
    with pytest.raises(ValueError, match="all four losses are off"):
        task_of(itc=False, itm=False, mlm=False, mim=False)
    for off in ("mlm", "mim"):
        with pytest.raises(ValueError, match="itm_masked reads what mlm and mim mask"):
            task_of(itm_masked=True, **{off: False})


def test_a_run_learns_all_four():
    task, stage = task_of(network(pool="mean")), Stage("s", 60, lambda *_: batch(4), optimisers=(Optimiser(lr=1e-2),))
    history = fit(task, stage, progress=None, device="cpu")
    for name, losses in history.losses.items():
        assert sum(losses[-15:]) < 0.8 * sum(losses[:15]), (name, losses)


# Parts against transformers


@torch.no_grad()
def shaken(model: nn.Module) -> nn.Module:
    """Large weights, none at its first value, so that differences would show."""
    for name, parameter in model.named_parameters():
        parameter.normal_(std=0.3).add_(float("norm" in name.lower() and name.endswith("weight")))
    return model.eval()


def near(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


PAPER = CONFIG.replace(
    vision=VISION.replace(class_token=True, layers=2, heads=2),
    bert=BERT.replace(vocabulary=40, context=14, types=1, layers=2, eps=1e-3),
    first_place=2,
    pool="first",
)


@torch.no_grad()
def test_the_image_encoder_is_transformers_vit_and_masks_as_their_masked_vit(transformers):
    theirs = shaken(
        transformers.ViTForMaskedImageModeling(
            transformers.ViTConfig(
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=24,
                image_size=8,
                patch_size=4,
                layer_norm_eps=1e-6,
            )
        )
    )
    state, _ = vit_from_hf(
        {name: v for name, v in theirs.state_dict().items() if "decoder" not in name}, theirs.config.to_dict()
    )
    model = shaken(MaskVLM(PAPER))
    tower = {name.removeprefix("tower."): value for name, value in state.items() if name.startswith("tower.")}
    model.vision.load_state_dict(tower)
    model.mask_token.copy_(theirs.vit.embeddings.mask_token.flatten())
    image = pictures()
    near(model.image_tokens(image), theirs.vit(image).last_hidden_state)
    expected = theirs.vit(image, bool_masked_pos=HIDDEN).last_hidden_state
    near(model.image_tokens(image, HIDDEN), expected)
    assert (model.image_tokens(image) - expected).abs().max() > 0.1, "the mask must matter"


@torch.no_grad()
def test_the_text_encoder_and_its_word_head_are_transformers_roberta(transformers):
    theirs = shaken(
        transformers.RobertaForMaskedLM(
            transformers.RobertaConfig(
                vocab_size=40,
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=14,
                type_vocab_size=1,
                layer_norm_eps=1e-3,
                pad_token_id=1,
            )
        )
    )
    theirs.roberta.embeddings.word_embeddings.weight[1] = 0.5
    state = {
        name.replace("roberta.", "bert.").replace("lm_head.dense", "cls.predictions.transform.dense")
        .replace("lm_head.layer_norm", "cls.predictions.transform.LayerNorm")
        .replace("lm_head.bias", "cls.predictions.bias"): value
        for name, value in theirs.state_dict().items()
        if "decoder" not in name
    }  # fmt: skip
    ours, _ = bert_from_hf(state, {})
    model = shaken(MaskVLM(PAPER))
    for ours_prefix, part in (("embedding.", model.embedding), ("blocks.", model.text), ("word.", model.word)):
        part.load_state_dict({n.removeprefix(ours_prefix): v for n, v in ours.items() if n.startswith(ours_prefix)})
    ids, mask = texts((5, 7, 9))
    ids = torch.where(mask, ids, 1)  # their padding id: positions count from the words that are not padding
    expected = theirs.roberta(ids, attention_mask=mask.long()).last_hidden_state
    tokens = model.text_tokens(ids, mask)
    near(tokens[mask], expected[mask])
    near(model.word(tokens[mask], model.embedding.words), theirs(ids, attention_mask=mask.long()).logits[mask])
    shifted = MaskVLM(PAPER.replace(first_place=0)).eval()
    shifted.load_state_dict(model.state_dict())
    assert (shifted.text_tokens(ids, mask)[mask] - expected[mask]).abs().max() > 0.1, "positions must start at 2"


@torch.no_grad()
@pytest.mark.parametrize("stack", ["image_cross", "text_cross", "decoder"])
def test_cross_encoders_and_decoder_are_transformers_blocks_with_cross_attention(transformers, stack):
    hidden = 24 if stack != "text_cross" else 32
    config = transformers.BertConfig(
        vocab_size=9,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=hidden,
        layer_norm_eps=1e-3,
        is_decoder=True,
        add_cross_attention=True,
    )
    theirs = shaken(transformers.BertModel(config, add_pooling_layer=False))
    ours, _ = bert_from_hf(theirs.state_dict(), config.to_dict())
    model = shaken(MaskVLM(PAPER.replace(decoder=2)))
    blocks = {name.removeprefix("blocks."): value for name, value in ours.items() if name.startswith("blocks.")}
    getattr(model, stack).load_state_dict(blocks)
    image_tokens, text_tokens = torch.randn(3, 5, 16), torch.randn(3, 9, 16)
    _, mask = texts((5, 7, 9))
    closed = torch.zeros(3, 1, 1, 9).masked_fill(~mask[:, None, None], -1e9)
    if stack == "text_cross":
        found = model.fuse_text(text_tokens, mask, image_tokens)
        y, own, context, other = text_tokens, closed.expand(3, 1, 9, 9), image_tokens, None
    else:
        found = model.fuse_image(image_tokens, text_tokens, mask)
        if stack == "decoder":
            found = model.decoder(image_tokens, cross=model._words(text_tokens, mask))
        y, own, context, other = image_tokens, torch.zeros(3, 1, 5, 5), text_tokens, closed.expand(3, 1, 5, 9)
    for layer in theirs.encoder.layer:
        y = layer(y, own, encoder_hidden_states=context, encoder_attention_mask=other)
    near(found, y)
    assert y.std() > 0.1
