"""VLMo: experts by kind of token, one network as dual and as fusion encoder, three stages, three losses."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyvlm.encoders import BertConfig, VisionConfig
from tinyvlm.interop.renaming import Renaming
from tinyvlm.layers import Experts
from tinyvlm.models import VLMo, VLMoConfig, VLMoTask, VLMoTextTask, vlmo_task
from tinyvlm.models.vlmo_task import TEXT_STAGE
from tinyvlm.objectives import uniform_rates
from tinyvlm.training import Optimiser, Stage, fit

SHAPE = {"width": 16, "layers": 3, "heads": 2, "hidden": 32}
VISION = VisionConfig(image_size=8, patch=4, **SHAPE, class_token=False, position_std=0.5)
BERT = BertConfig(vocabulary=30, context=9, **SHAPE, eps=1e-6, placement="pre", std=0.3, word_std=0.5)
SMALL = VLMoConfig(VISION, BERT, top=1, scale=None, relative=0, tied=True, pool="mean", mask_id=3)
# As Base: class tokens, relative positions, LayerScale, an output layer of its own.
PAPER = VLMoConfig(VISION.replace(class_token=True, positions=False), BERT, top=1, relative=12, mask_id=3)
BOTH = pytest.mark.parametrize("config", [SMALL, PAPER], ids=["as Base+ and smaller", "as Base"])
PAIRS, RATES = 6, uniform_rates(30, 5, 0.4)


def network(config: VLMoConfig = SMALL, **changes) -> VLMo:
    """Random weights everywhere, also where training starts at zero or one."""
    model = VLMo(config.replace(**changes)).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return model


def texts(lengths: tuple[int, ...], padded: int = 9) -> tuple[Tensor, Tensor]:
    """Random words of the given lengths with 0 behind them; and the mask of real tokens."""
    ids = torch.randint(5, 30, (len(lengths), padded), generator=torch.Generator().manual_seed(2))
    mask = torch.arange(padded)[None] < torch.tensor(lengths)[:, None]
    return ids.masked_fill(~mask, 0), mask


def batch(pairs: int = PAIRS, **more: Tensor) -> dict[str, Tensor]:
    ids, mask = texts(tuple(4 + i % 6 for i in range(pairs)))
    image = torch.randint(0, 256, (pairs, 3, 8, 8), generator=torch.Generator().manual_seed(4), dtype=torch.uint8)
    return {"image": image, "text": ids, "text_mask": mask, **more}


def prepared(task: VLMoTask, given: dict[str, Tensor] | None = None, seed: int = 0) -> dict[str, Tensor]:
    return task.prepare(given or batch(), torch.Generator().manual_seed(seed))


def experts_of(model: VLMo, name: str) -> list[nn.Parameter]:
    """Weights of one kind of expert, of all layers that have it."""
    layers = [block["mlp"].branch for block in model.shared.blocks]
    return [weight for experts in layers if name in experts for weight in experts[name].parameters()]


@BOTH
def test_shapes_unit_vectors_and_the_score(config):
    model, image, (ids, mask) = network(config), torch.randn(3, 3, 8, 8), texts((5, 7, 9))
    out, seen = model(image, ids, mask), config.vision.tokens
    assert out.image.shape == out.text.shape == (3, 16) and out.fused.shape == (3, 9, 16)
    assert model.fuse(ids, mask, image).shape == (3, 9 + seen, 16)
    torch.testing.assert_close(torch.cat([out.image, out.text]).norm(dim=-1), torch.ones(6))
    torch.testing.assert_close(out.score.sigmoid(), out.matching.softmax(-1)[:, 1])
    torch.testing.assert_close((model.encode_image(image), model.encode_text(ids, mask)), (out.image, out.text))
    hidden = torch.rand(3, 9) < 0.3
    table = model.embedding.words if config.tied else model.decoder
    expected = model.word(out.fused[hidden], table)
    torch.testing.assert_close(model.predict_words(image, ids, mask, hidden), expected)


@BOTH
def test_padding_and_neighbours_in_the_batch_change_nothing(config):
    """A row is split at the padded length of the batch, wherever its own text ends, and that length does not matter."""
    model, image, (ids, mask) = network(config).double(), torch.randn(3, 3, 8, 8).double(), texts((5, 7, 9))
    out, other = model(image, ids, mask), model(image, torch.where(mask, ids, 17), mask)
    torch.testing.assert_close(other.fused[mask], out.fused[mask])
    for i in range(3):
        rows = (image[i : i + 1], ids[i : i + 1, : 5 + 2 * i], mask[i : i + 1, : 5 + 2 * i])
        alone = model(*rows)
        for name in ("image", "text", "matching"):
            torch.testing.assert_close(getattr(alone, name)[0], getattr(out, name)[i])
            torch.testing.assert_close(getattr(other, name), getattr(out, name))


def by_hand(model: VLMo, text: Tensor, patches: Tensor, real: Tensor) -> Tensor:
    """The pair's way, token by token, with every expert and its norm written out."""
    x, words = torch.cat([text, patches]), len(text)
    vision, width = model.config.vision, model.config.vision.width // model.config.vision.heads
    for depth, block in enumerate(model.shared.blocks):
        attention, mlp = block["attention"], block["mlp"]
        y = F.layer_norm(x, (16,), attention.norm.weight, attention.norm.bias, 1e-6)
        out = torch.zeros_like(x)
        for head in range(vision.heads):
            part = slice(head * width, (head + 1) * width)
            q, k, v = ((y @ one.weight[part].T) for one in (attention.branch.q, attention.branch.k, attention.branch.v))
            q, v = q + attention.branch.q.bias[part], v + attention.branch.v.bias[part]
            logits = q @ k.T / math.sqrt(width)
            if model.relative is not None:
                column = depth * vision.heads + head
                logits += model.relative.table[model.relative.index(words, image=True), column]
            out[:, part] = logits.masked_fill(~real, -torch.inf).softmax(-1) @ v
        gain = 1.0 if attention.scale is None else attention.scale
        x = x + gain * (out @ attention.branch.out.weight.T + attention.branch.out.bias)
        gain = 1.0 if mlp.scale is None else mlp.scale
        rows = []
        for place, token in enumerate(x):
            top = depth >= vision.layers - model.config.top
            norm, feed = mlp.branch["both" if top else "language" if place < words else "vision"]
            inner = F.gelu(feed.up(F.layer_norm(token, (16,), norm.weight, norm.bias, 1e-6)))
            rows.append(token + gain * feed.down(inner))
        x = torch.stack(rows)
    return model.shared.norm(x)


@BOTH
@pytest.mark.parametrize("top", [0, 1, 3])
def test_the_pairs_way_against_a_loop_over_tokens(config, top):
    model, image, (ids, mask) = network(config, top=top).double(), torch.randn(2, 3, 8, 8).double(), texts((5, 9))
    tower, fused = model.shared, model.fuse(ids, mask, image)
    words = model.embedding.words(ids) + model.embedding.types.weight[0]
    if model.relative is None:
        words = words + model.embedding.positions.weight[:9]
    words = model.embedding.norm(words) + model.modality.weight[0]
    patches = tower.embed(tower.patches(image)) + model.modality.weight[1]
    for row in range(2):
        real = F.pad(mask[row], (0, patches.shape[1]), value=True)
        torch.testing.assert_close(fused[row], by_hand(model, words[row], patches[row], real))


@BOTH
def test_experts_that_are_not_on_the_route_get_no_gradient(config):
    """Image tokens never touch the weights of language experts, nor texts those of vision experts."""
    image, (ids, mask) = torch.randn(2, 3, 8, 8), texts((5, 9))
    below, top = [{"vision", "language"}] * 2, [{"both"}]
    for run, used in (
        (lambda model: model.encode_image(image), [{"vision"}] * 3),
        (lambda model: model.encode_text(ids, mask), [{"language"}] * 3),
        (lambda model: model.matching(model.fuse(ids, mask, image), mask), below + top),
    ):
        model = network(config)
        run(model).square().sum().backward()
        found = [
            {
                name
                for name, expert in block["mlp"].branch.items()
                for one in expert.parameters()
                if one.grad is not None
            }
            for block in model.shared.blocks
        ]
        assert found == used


def test_in_a_pair_image_tokens_do_not_pass_language_experts():
    """Other language experts leave what stands behind the first layer at the places of the picture bit-equal."""
    model, image, (ids, mask) = network(), torch.randn(2, 3, 8, 8), texts((5, 9))
    seen: list[Tensor] = []
    model.shared.blocks[0].register_forward_hook(lambda module, inputs, out: seen.append(out))
    model.fuse(ids, mask, image)
    for weight in experts_of(model, "language"):
        weight.data += torch.randn(weight.shape)
    model.fuse(ids, mask, image)
    before, after = seen
    assert torch.equal(before[:, 9:], after[:, 9:]) and (before[:, :9] != after[:, :9]).any(-1).all()
    for weight in experts_of(model, "vision"):
        weight.data += torch.randn(weight.shape)
    model.fuse(ids, mask, image)
    assert torch.equal(seen[2][:, :9], after[:, :9]) and (seen[2][:, 9:] != after[:, 9:]).any(-1).all()


def test_every_expert_has_its_own_norm_and_no_key_has_a_bias():
    model = VLMo(PAPER)
    for depth, block in enumerate(model.shared.blocks):
        mlp = block["mlp"]
        assert isinstance(mlp.branch, Experts) and isinstance(mlp.norm, nn.Identity)
        assert list(mlp.branch) == ["vision", "language"] + ["both"] * (depth == 2)
        assert len({id(expert[0]) for expert in mlp.branch.values()}) == len(mlp.branch)
        assert torch.equal(mlp.scale, torch.full((16,), 0.1)) and torch.equal(block["attention"].scale, mlp.scale)
        attention = block["attention"].branch
        assert attention.k.bias is None and attention.q.bias is not None and attention.v.bias is not None
    shared = VLMo(PAPER.replace(experts=False))
    assert [isinstance(block["mlp"].branch, Experts) for block in shared.shared.blocks] == [False] * 3


def test_one_shared_feed_forward_reads_both_kinds_of_tokens():
    model, image, (ids, mask) = network(experts=False), torch.randn(2, 3, 8, 8), texts((5, 9))
    for run in (lambda: model.encode_image(image), lambda: model.encode_text(ids, mask)):
        model.zero_grad()
        run().square().sum().backward()
        assert all(block["mlp"].branch.up.weight.grad.abs().sum() > 0 for block in model.shared.blocks)
    assert model(image, ids, mask).fused.shape == (2, 9, 16)


NAMES = Renaming(
    [
        ("shared.class_token", "embeddings.cls_token"),
        ("shared.patches", "embeddings.patch_embeddings.projection"),
        ("shared.norm", "layernorm"),
        *(
            (f"shared.blocks.{{}}.{ours}", f"layers.{{}}.{theirs}")
            for ours, theirs in (
                ("attention.scale", "lambda_1"),
                ("attention.norm", "layernorm_before"),
                ("attention.branch.q", "attention.q_proj"),
                ("attention.branch.k", "attention.k_proj"),
                ("attention.branch.v", "attention.v_proj"),
                ("attention.branch.out", "attention.o_proj"),
                ("mlp.scale", "lambda_2"),
                ("mlp.branch.vision.0", "layernorm_after"),
                ("mlp.branch.vision.1.up", "mlp.fc1"),
                ("mlp.branch.vision.1.down", "mlp.fc2"),
            )
        ),
    ]
)


@pytest.mark.parametrize(("size", "patch", "heads", "top"), [(12, 4, 2, 1), (10, 5, 4, 0), (12, 3, 1, 3)])
@torch.no_grad()
def test_the_image_path_is_beit(size, patch, heads, top):
    """Attention and vision experts along the way of pictures alone, with LayerScale and relative positions."""
    transformers = pytest.importorskip("transformers", reason="the comparison needs the extra `hub`")
    theirs = transformers.BeitModel(
        transformers.BeitConfig(
            image_size=size,
            patch_size=patch,
            hidden_size=16,
            num_hidden_layers=3,
            num_attention_heads=heads,
            intermediate_size=24,
            layer_norm_eps=1e-6,
            layer_scale_init_value=0.1,
            use_shared_relative_position_bias=True,
            use_absolute_position_embeddings=False,
            use_mean_pooling=False,
        ),
        add_pooling_layer=False,
    ).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.4)
    state = NAMES.to_ours(theirs.state_dict())
    state["shared.class_token"] = state["shared.class_token"].flatten()
    shape = {"width": 16, "layers": 3, "heads": heads, "hidden": 24}
    vision = VisionConfig(image_size=size, patch=patch, **shape, positions=False)
    ours = VLMo(VLMoConfig(vision, BERT.replace(**shape), top=top, relative=12)).eval()
    unknown = ours.load_state_dict(state, strict=False)
    assert not unknown.unexpected_keys and not any("vision" in key for key in unknown.missing_keys)
    # Our table has columns for each layer; BEiT shares one table between its layers, and has no modality.
    table = theirs.shared_position_bias.relative_position_bias_table
    ours.relative.table.data[: len(table)] = table.repeat(1, 3)
    nn.init.zeros_(ours.modality.weight)
    image = torch.randn(3, 3, size, size)
    found, expected = ours.image_tokens(image), theirs(image).last_hidden_state
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 0.1
    nn.init.zeros_(ours.relative.table)
    assert (ours.image_tokens(image) - found).abs().max() > 0.01, "the bias must matter"


def frozen_and_moved(task, stage: Stage) -> tuple[set[str], set[str]]:
    before = {name: value.clone() for name, value in task.named_parameters()}
    fit(task, stage, progress=None, device="cpu")
    after = dict(task.named_parameters())
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    return set(after) - moved, moved


@BOTH
def test_the_text_stage_moves_what_the_paper_trains_and_leaves_the_rest_bit_equal(config):
    task = VLMoTextTask(network(config), RATES)
    source = lambda *_: {name: value for name, value in batch().items() if name != "image"}  # noqa: E731
    stage = Stage("texts", 3, source, trainable=TEXT_STAGE, optimisers=(Optimiser(lr=1e-2),))
    frozen, moved = frozen_and_moved(task, stage)
    parts = ("attention", ".vision.", ".both.", "patches", "class_token", "shared.positions", "projection")
    parts += ("log_scale", "pooler", "match", "mlp.scale")
    for name in frozen | moved:
        held = any(part in name for part in parts) or (config is PAPER and "embedding.positions" in name)
        assert (name in frozen) == held, name
    assert any(".language." in name for name in moved) and any("attention" in name for name in frozen)


@BOTH
def test_pictures_alone_leave_language_and_heads_bit_equal(config):
    """What the picture stage relies on: no route, no gradient, no update."""
    model, image = network(config), torch.randn(2, 3, 8, 8)
    before = copy.deepcopy(model)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=0.0)
    for _ in range(3):
        optimiser.zero_grad()
        model.image_tokens(image).square().mean().backward()
        optimiser.step()
    moved = {n for (n, a), b in zip(model.named_parameters(), before.parameters(), strict=True) if not a.equal(b)}
    assert all("shared" in name or name in ("modality.weight", "relative.table") for name in moved)
    assert not any(".language." in name or ".both." in name for name in moved)
    assert any(".vision." in name for name in moved) and any("attention" in name for name in moved)
    assert torch.equal(model.modality.weight[0], before.modality.weight[0])


def test_the_pair_stage_moves_everything():
    task = VLMoTask(network(), RATES)
    frozen, _ = frozen_and_moved(task, Stage("pairs", 2, lambda *_: batch(), optimisers=(Optimiser(lr=1e-2),)))
    assert frozen == set()


def test_contrast_against_a_loop():
    task = VLMoTask(network(), RATES)
    given, model = prepared(task), task.model
    image, text = model.encode_image(given["image"]), model.encode_text(given["text"], given["text_mask"])
    total = 0.0
    for mine, theirs in ((image, text), (text, image)):
        for i in range(PAIRS):
            total -= (theirs @ mine[i] * model.log_scale.exp()).log_softmax(0)[i].item() / 2
    term = task(given)["ITC"]
    assert term.sum.item() == pytest.approx(total, rel=1e-4) and term.count.item() == PAIRS
    assert VLMo(SMALL).log_scale.exp().item() == pytest.approx(1 / 0.07)


@pytest.mark.parametrize("weight", [0.25, 1.0])
def test_hidden_words_against_a_loop(weight):
    task = VLMoTask(network(), RATES, mlm_weight=weight)
    given, total = prepared(task), 0.0
    for i, place in given["chosen"].nonzero().tolist():
        row = (given["masked"][i : i + 1], given["text_mask"][i : i + 1], given["image"][i : i + 1])
        fused = task.model.fuse(*row)[0, place]
        chances = task.model.word(fused[None], task.model.embedding.words)[0].log_softmax(-1)
        total -= weight * chances[given["text"][i, place]].item()
    term = task(given)["MLM"]
    assert term.sum.item() == pytest.approx(total, rel=1e-4)
    assert term.count.item() == given["chosen"].sum().item() > 0


def test_hidden_words_of_texts_alone_against_a_loop():
    task = VLMoTextTask(network(PAPER), RATES)
    given, total = task.prepare(batch(), torch.Generator().manual_seed(0)), 0.0
    for i, place in given["chosen"].nonzero().tolist():
        tokens = task.model.text_tokens(given["masked"][i : i + 1], given["text_mask"][i : i + 1])[0, place]
        logits = task.model.word(tokens[None], task.model.decoder)[0]
        total -= logits.log_softmax(-1)[given["text"][i, place]].item()
    (term,) = task(given).values()
    assert term.sum.item() == pytest.approx(total, rel=1e-4) and term.count.item() == given["chosen"].sum().item() > 0


def test_matching_against_a_loop(monkeypatch):
    """One positive to two negatives, found by the contrast of each with each."""
    drawn = [torch.tensor([1, 2, 3, 4, 5, 0]), torch.tensor([2, 0, 4, 5, 1, 3])]
    asked: list[Tensor] = []
    monkeypatch.setattr(vlmo_task, "draw_negatives", lambda near, *_: asked.append(near) or drawn[len(asked) - 1])
    task = VLMoTask(network(), RATES)
    given = prepared(task)
    image, text, mask = given["image"], given["text"], given["text_mask"]
    rows = [(i, text[i], mask[i], True) for i in range(PAIRS)]
    rows += [(drawn[0][i], text[i], mask[i], False) for i in range(PAIRS)]
    rows += [(i, text[drawn[1][i]], mask[drawn[1][i]], False) for i in range(PAIRS)]
    total = 0.0
    for picture, ids, real, together in rows:
        out = task.model(image[picture][None], ids[None], real[None])
        total += F.cross_entropy(out.matching, torch.tensor([int(together)])).item()
    term = task(given)["ITM"]
    assert term.sum.item() == pytest.approx(total, rel=1e-4) and term.count.item() == 18
    near = task.model.log_scale.exp() * task.model.encode_image(image) @ task.model.encode_text(text, mask).T
    torch.testing.assert_close(asked, [near.T, near])


def test_contrast_and_matching_never_see_masked_words():
    """Other masks change the term of MLM alone, bit for bit."""
    task = VLMoTask(network(), RATES)
    given = prepared(task)
    other = {**given, "masked": given["masked"].roll(1, 0)}
    one, two = task(given), task(other)
    assert torch.equal(one["ITC"].sum, two["ITC"].sum) and torch.equal(one["ITM"].sum, two["ITM"].sum)
    assert not torch.equal(one["MLM"].sum, two["MLM"].sum)


@pytest.mark.parametrize("random", [0, 2])
def test_negatives_are_of_other_scenes_and_at_random_for_as_long_as_is_said(monkeypatch, random):
    draw, calls = vlmo_task.draw_negatives, []
    monkeypatch.setattr(vlmo_task, "draw_negatives", lambda *on: calls.append((on, draw(*on))) or calls[-1][1])
    content, task = torch.tensor([0, 0, 1, 2, 2, 2]), VLMoTask(network(), RATES, random=random)
    for step in range(6):
        given = prepared(task, batch(content=content), step)
        task(given)
        task.after_step(given)
        assert [bool(call[0][0].any()) for call in calls[-2:]] == [step >= random] * 2
        assert [call[0][2].tolist() for call in calls[-2:]] == given["uniforms"].tolist()
    assert all((content[chosen] != content).all() for _, chosen in calls)


def test_without_matching_the_other_losses_stay():
    model = network()
    whole, bare = VLMoTask(model, RATES), VLMoTask(model, RATES, itm=False)
    given = prepared(whole)
    full, less = whole(given), bare(given)
    assert set(full) == {"ITC", "ITM", "MLM"} and set(less) == {"ITC", "MLM"}
    for name in less:
        torch.testing.assert_close(less[name].sum, full[name].sum)


def test_a_run_in_parts_equals_a_run_in_one_and_learns(tmp_path):
    whole, stage = VLMoTask(network(), RATES, random=5), Stage("s", 30, lambda *_: batch(4), optimisers=(Optimiser(),))

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    parts = [copy.deepcopy(whole), VLMoTask(network(), RATES, random=5)]  # all must come from the checkpoint
    history = fit(whole, stage, progress=None, device="cpu")
    after = [fit(one, stage, progress=None, device="cpu", folder=tmp_path, on_step=stop) for one in parts][1]
    assert after.loss == history.loss and parts[1].updates == 30
    torch.testing.assert_close(parts[1].state_dict(), whole.state_dict(), rtol=0, atol=0)
    for name, losses in history.losses.items():
        assert sum(losses[-10:]) < 0.9 * sum(losses[:10]), (name, losses)


@BOTH
def test_a_saved_model_answers_alike(tmp_path, config):
    model, image, (ids, mask) = network(config), torch.randn(2, 3, 8, 8), texts((5, 9))
    model.save_pretrained(tmp_path)
    again = VLMo.from_pretrained(tmp_path)
    assert again.config == model.config
    assert torch.equal(again(image, ids, mask).matching, model(image, ids, mask).matching)


def test_layers_and_widths_that_cannot_be_are_refused():
    for top in (-1, 4):
        with pytest.raises(ValueError, match=f"top is {top} of 3 layers; give 0 to all of them"):
            SMALL.replace(top=top)
    with pytest.raises(ValueError, match="patches are 16 wide and words 8; one Transformer reads both"):
        SMALL.replace(bert=BERT.replace(width=8))
