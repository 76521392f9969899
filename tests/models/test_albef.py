"""ALBEF: two towers and a fusion encoder, a momentum twin with its queues, hard negatives, three losses."""

import copy

import pytest
import torch
import torch.nn.functional as F

from tinyvlm.encoders import BertConfig, VisionConfig
from tinyvlm.models import ALBEF, ALBEFConfig, ALBEFTask, albef_task
from tinyvlm.objectives import uniform_rates
from tinyvlm.training import Optimiser, Stage, fit
from tinyvlm.training.stages import build_optimisers, only_trainable

VISION = VisionConfig(image_size=8, patch=4, width=12, layers=1, heads=2, hidden=24, class_token=False)
BERT = BertConfig(vocabulary=30, context=9, width=16, layers=3, heads=2, hidden=32, eps=1e-5, std=0.3, word_std=0.5)
CONFIG = ALBEFConfig(vision=VISION, bert=BERT, fusion=2, embedding=8, pool="mean", mask_id=3)
PAIRS, RATES = 6, uniform_rates(30, 5, 0.4)


def network(**changes) -> ALBEF:
    return ALBEF(CONFIG.replace(**changes)).eval()


def task_of(**options) -> ALBEFTask:
    """Small settings; the student is moved away from its twin, so that one cannot pass for the other."""
    task = ALBEFTask(network(), RATES, **{"queue": 7, "momentum": 0.9, "alpha": 0.4, "ramp": 4, **options})
    for parameter in task.model.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    return task.eval()


def texts(lengths: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Random words of the given lengths with 0 behind them; and the mask of real tokens."""
    ids = torch.randint(5, 30, (len(lengths), 9), generator=torch.Generator().manual_seed(2))
    mask = torch.arange(9)[None] < torch.tensor(lengths)[:, None]
    return ids.masked_fill(~mask, 0), mask


def batch(pairs: int = PAIRS, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    ids, mask = texts(tuple(4 + i % 6 for i in range(pairs)))
    image = torch.randint(0, 256, (pairs, 3, 8, 8), generator=torch.Generator().manual_seed(4), dtype=torch.uint8)
    return {"image": image, "text": ids, "text_mask": mask, **more}


def with_negatives() -> dict[str, torch.Tensor]:
    given = batch()
    ids, mask = (torch.stack([given[name].roll(1 + n, 0) for n in range(2)], 1) for name in ("text", "text_mask"))
    admitted = torch.arange(2 * PAIRS).reshape(PAIRS, 2) % 3 > 0
    return {**given, "negatives": ids, "negatives_text_mask": mask, "negatives_mask": admitted}


def prepared(task: ALBEFTask, given: dict[str, torch.Tensor] | None = None, seed: int = 0) -> dict[str, torch.Tensor]:
    return task.prepare(given or batch(), torch.Generator().manual_seed(seed))


def test_shapes_unit_vectors_and_the_score():
    model, image, (ids, mask) = network(), torch.randn(3, 3, 8, 8), texts((5, 7, 9))
    out = model(image, ids, mask)
    assert out.image.shape == out.text.shape == (3, 8) and out.fused.shape == (3, 9, 16)
    torch.testing.assert_close(torch.cat([out.image, out.text]).norm(dim=-1), torch.ones(6))
    torch.testing.assert_close(out.score.sigmoid(), out.matching.softmax(-1)[:, 1])
    words = torch.stack([model.text_tokens(ids, mask)[i, : 5 + 2 * i].mean(0) for i in range(3)])
    torch.testing.assert_close(out.image, F.normalize(model.image_projection(model.vision(image).mean(1)), dim=-1))
    torch.testing.assert_close(out.text, F.normalize(model.text_projection(words), dim=-1))
    torch.testing.assert_close((model.encode_image(image), model.encode_text(ids, mask)), (out.image, out.text))


@pytest.mark.parametrize("how", ["first", "mean"])
def test_padding_and_neighbours_in_the_batch_change_nothing(how):
    model, image, (ids, mask) = network(pool=how).double(), torch.randn(3, 3, 8, 8).double(), texts((5, 7, 9))
    out, other = model(image, ids, mask), model(image, torch.where(mask, ids, 17), mask)
    torch.testing.assert_close(other.fused[mask], out.fused[mask])
    for i in range(3):
        rows = (image[i : i + 1], ids[i : i + 1, : 5 + 2 * i], mask[i : i + 1, : 5 + 2 * i])
        alone = model(*rows)
        for name in ("image", "text", "matching"):
            torch.testing.assert_close(getattr(alone, name)[0], getattr(out, name)[i])
            torch.testing.assert_close(getattr(other, name), getattr(out, name))


def test_words_see_the_picture_in_cross_attention_only():
    model, image, (ids, mask) = network().double(), torch.randn(3, 3, 8, 8).double(), texts((5, 7, 9))
    one, other = model(image, ids, mask), model(image.flip(0), ids, mask)
    assert torch.equal(one.text, other.text) and torch.equal(one.image, other.image.flip(0))
    moved = (one.score - other.score).abs() > 1e-6
    assert moved.tolist() == [True, False, True]  # the picture in the middle stays
    assert ((one.fused - other.fused).abs().amax(-1) > 1e-6)[[0, 2]].all()
    for block in model.fusion:
        block["cross"].branch.v.weight.data.zero_()
    assert torch.equal(model(image, ids, mask).matching, model(image.flip(0), ids, mask).matching)
    assert not any("cross" in block for block in model.text)


def test_no_gradient_and_no_optimiser_reaches_the_twin():
    task = task_of()
    sum(term.mean for term in task(prepared(task)).values()).backward()
    assert all(value.grad is None and not value.requires_grad for value in task.twin.followed())
    named = dict(task.named_parameters())
    assert set(named) == {f"model.{name}" for name, _ in task.model.named_parameters()}
    assert task.twin.network.device == task.model.device
    stage = Stage("s", 1, lambda *_: batch())
    with only_trainable(task, stage) as parameters:
        groups = build_optimisers(stage, parameters)[0].param_groups
    assert sum(p.numel() for group in groups for p in group["params"]) == task.model.count()
    for name, parameter in named.items():
        if ".k.bias" not in name:  # the softmax takes a shift of all logits out again
            assert parameter.grad.abs().max() > 0, name


def test_the_twin_moves_before_it_speaks():
    task = task_of()
    by_hand = copy.deepcopy(task.model)
    for name, parameter in by_hand.named_parameters():
        if name not in ("temperature", "match.weight", "match.bias"):
            old = task.twin.network.get_buffer(name)
            assert not torch.equal(old, parameter)
            parameter.data.copy_(0.9 * old + 0.1 * parameter)
    stale = prepared(task)
    task.before_step()
    given = prepared(task)
    torch.testing.assert_close(given["image_keys"], by_hand.encode_image(given["image"]).detach())
    torch.testing.assert_close(given["text_keys"], by_hand.encode_text(given["text"], given["text_mask"]).detach())
    assert not torch.allclose(stale["image_keys"], given["image_keys"], atol=1e-5)
    moved = {name: value.clone() for name, value in task.twin.network.named_buffers()}
    task(given)
    task.after_step(given)
    assert all(torch.equal(value, moved[name]) for name, value in task.twin.network.named_buffers())


@pytest.mark.parametrize("queue", [7, 4, 12])
def test_keys_join_the_queues_after_the_loss(queue):
    """Whatever the size: 6 keys a step into queues that 6 divides, does not divide, or overfills."""
    task, rows = task_of(queue=queue), {"image": [], "text": []}
    for step in range(3):
        task.before_step()
        given = prepared(task, seed=step)
        for name, one in (("image", task.image_queue), ("text", task.text_queue)):
            keys, candidates = given[f"{name}_keys"], given[f"{name}_candidates"]
            assert torch.equal(candidates, torch.cat([keys, one.features]))
            assert torch.equal(candidates[given["own"]], keys)
            assert not (candidates[PAIRS:, None] == keys).all(-1).any(), "a pair as its own negative"
            rows[name] += keys
        task(given)
        task.after_step(given)
        for name, one in (("image", task.image_queue), ("text", task.text_queue)):
            kept = torch.stack(rows[name][-queue:])
            held = (one.features[:, None] == kept).all(-1)
            assert held.any(0).all() and held.sum() == len(kept), (step, name)


def test_after_each_step_soft_targets_weigh_more_and_the_temperature_is_clamped():
    task, seen = task_of(alpha=0.4, ramp=4), []
    for _ in range(7):
        given = prepared(task)
        seen.append(given["alpha"].item())
        task.after_step(given)
    assert seen == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
    assert network().temperature.item() == pytest.approx(0.07)
    for start, after in ((-1.0, 0.001), (0.2, 0.2), (3.0, 0.5)):
        task.model.temperature.data.fill_(start)
        task.after_step(given)
        assert task.model.temperature.item() == pytest.approx(after)


@pytest.mark.parametrize("alpha", [0.0, 0.4])
@pytest.mark.parametrize("queue", [0, 7])
def test_contrast_against_a_loop(alpha, queue):
    task = task_of(alpha=alpha, queue=queue)
    task.updates.fill_(4)
    given, model = prepared(task), task.model
    image, text = model.encode_image(given["image"]), model.encode_text(given["text"], given["text_mask"])
    total = 0.0
    for mine, my_key, theirs in ((image, "image_keys", "text"), (text, "text_keys", "image")):
        candidates = given[f"{theirs}_candidates"]
        assert len(candidates) == PAIRS + queue
        for i in range(PAIRS):
            said = (candidates @ given[my_key][i] / model.temperature).softmax(0)
            target = alpha * said + (1 - alpha) * (torch.arange(len(candidates)) == i)
            total -= (target * (candidates @ mine[i] / model.temperature).log_softmax(0)).sum().item() / 2
    term = task(given)["ITC"]
    assert term.sum.item() == pytest.approx(total, rel=1e-4) and term.count.item() == PAIRS


@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_hidden_words_against_a_loop(alpha):
    task = task_of(alpha=alpha)
    task.updates.fill_(4)
    given, total = prepared(task), 0.0
    rows, twin = (given["image"], given["masked"], given["text_mask"]), task.twin.network
    said = twin.fuse(twin.text_tokens(*rows[1:]), rows[2], twin.vision(rows[0]))
    for i, place in given["chosen"].nonzero().tolist():
        fused = task.model(*(row[i : i + 1] for row in rows)).fused[0, place]
        chances = task.model.word(fused[None], task.model.embedding.words)[0].log_softmax(-1)
        target = twin.word(said[i, place][None], twin.embedding.words)[0].softmax(-1)
        hard = -chances[given["text"][i, place]]
        total += ((1 - alpha) * hard - alpha * (target * chances).sum()).item()
    term = task(given)["MLM"]
    assert term.sum.item() == pytest.approx(total, rel=1e-4)
    assert term.count.item() == given["chosen"].sum().item() > 0
    assert ("teacher_words" in given) == (alpha > 0)


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("mlm", [False, True])
def test_matching_against_a_loop(monkeypatch, extra, mlm):
    """One positive to two negatives, further ones only where the scene admits them."""
    drawn = [torch.tensor([1, 2, 3, 4, 5, 0]), torch.tensor([2, 0, 4, 5, 1, 3])]
    asked: list[torch.Tensor] = []
    monkeypatch.setattr(albef_task, "draw_negatives", lambda near, *_: asked.append(near) or drawn[len(asked) - 1])
    task = task_of(mlm=mlm)
    given = prepared(task, with_negatives() if extra else batch())
    image, text, mask = given["image"], given["text"], given["text_mask"]
    rows = [(i, text[i], mask[i], True) for i in range(PAIRS)]
    rows += [(drawn[0][i], text[i], mask[i], False) for i in range(PAIRS)]
    rows += [(i, text[drawn[1][i]], mask[drawn[1][i]], False) for i in range(PAIRS)]
    if extra:
        for i, n in given["negatives_mask"].nonzero().tolist():
            rows.append((i, given["negatives"][i, n], given["negatives_text_mask"][i, n], False))
    total = 0.0
    for picture, ids, real, together in rows:
        out = task.model(image[picture][None], ids[None], real[None])
        total += F.cross_entropy(out.matching, torch.tensor([int(together)])).item()
    term = task(given)["ITM"]
    assert term.sum.item() == pytest.approx(total, rel=1e-4) and term.count.item() == len(rows) == (26 if extra else 18)
    near_image = task.model.encode_text(text, mask) @ given["image_keys"].T
    near_text = task.model.encode_image(image) @ given["text_keys"].T
    torch.testing.assert_close(asked, [near_image / task.model.temperature, near_text / task.model.temperature])


@pytest.mark.parametrize("hard", [False, True])
def test_negatives_are_of_other_scenes_and_hard_where_asked(monkeypatch, hard):
    draw, calls = albef_task.draw_negatives, []
    monkeypatch.setattr(albef_task, "draw_negatives", lambda *on: calls.append((on, draw(*on))) or calls[-1][1])
    content, task = torch.tensor([0, 0, 1, 2, 2, 2]), task_of(hard=hard)
    for seed in range(10):
        given = prepared(task, batch(content=content), seed)
        task(given)
        assert [call[0][2].tolist() for call in calls[-2:]] == given["uniforms"].tolist()
    assert all((content[chosen] != content).all() for _, chosen in calls)
    assert all(bool(given[0].any()) == hard for given, _ in calls)
    assert len({tuple(chosen.tolist()) for _, chosen in calls}) > 5


@pytest.mark.parametrize("left_out", ["", "itc", "itm", "mlm", "itc mlm"])
def test_an_objective_can_be_left_out(left_out):
    whole = task_of(hard=False)
    task = task_of(hard=False, **dict.fromkeys(left_out.split(), False))
    task.load_state_dict({n: v for n, v in whole.state_dict().items() if "queue" not in n or task.itc})
    given, full = prepared(task), prepared(whole)
    keys = ("image_keys", "text_keys", "new_image_keys", "new_text_keys", "image_candidates", "text_candidates", "own")
    assert [name in given for name in keys] == 7 * [task.itc]
    assert (task.image_queue is None) == (task.text_queue is None) == (not task.itc) and ("masked" in given) == task.mlm
    ours, theirs = task(given), whole({**full, **given})
    assert list(ours) == [name for name in ("ITC", "ITM", "MLM") if name.lower() not in left_out]
    for name, term in ours.items():
        torch.testing.assert_close(term.sum, theirs[name].sum)
    task.after_step(given)  # with no queues there is nothing to fill


def test_a_checkpoint_holds_twin_queues_and_updates():
    task, again = task_of(), task_of()
    for step in range(2):
        task.before_step()
        given = prepared(task, seed=step)
        task(given)
        task.after_step(given)
    again.load_state_dict(task.state_dict())
    assert again.updates == 2 and again.text_queue.place == 12 % 7
    ours, theirs = prepared(task), prepared(again)
    torch.testing.assert_close((ours, task(ours)), (theirs, again(theirs)), rtol=0, atol=0)


def test_a_run_in_parts_equals_a_run_in_one_and_learns(tmp_path):
    whole, stage = task_of(), Stage("s", 30, lambda *_: batch(4), optimisers=(Optimiser(lr=1e-2),))

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    parts = [copy.deepcopy(whole), task_of()]  # other weights later: all must come from the checkpoint
    history = fit(whole, stage, progress=None, device="cpu")
    after = [fit(one, stage, progress=None, device="cpu", folder=tmp_path, on_step=stop) for one in parts][1]
    assert after.loss == history.loss and not after.interrupted
    torch.testing.assert_close(parts[1].state_dict(), whole.state_dict(), rtol=0, atol=0)
    for name, losses in history.losses.items():
        assert sum(losses[-10:]) < 0.9 * sum(losses[:10]), (name, losses)


def test_a_saved_model_answers_alike(tmp_path):
    model, image, (ids, mask) = network(), torch.randn(2, 3, 8, 8), texts((5, 9))
    model.save_pretrained(tmp_path)
    again = ALBEF.from_pretrained(tmp_path)
    assert again.config == model.config and torch.equal(
        again(image, ids, mask).matching, model(image, ids, mask).matching
    )


def test_both_halves_of_the_text_layers_are_needed():
    for fusion in (0, 3, 4):
        with pytest.raises(ValueError, match=f"fusion is {fusion} of 3 text layers; leave both halves at least 1"):
            CONFIG.replace(fusion=fusion)
