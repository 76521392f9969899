"""Pixel-BERT: one stream of words and cells, what each may influence, sampled cells, its two losses, two optimisers."""

import pytest
import torch
import torch.nn.functional as F

from tinyvlm.encoders import BertConfig
from tinyvlm.encoders.resnet import ResNetConfig
from tinyvlm.models import PixelBERT, PixelBERTConfig, PixelBERTTask
from tinyvlm.models.pixel_bert import sample_cells
from tinyvlm.objectives import uniform_rates
from tinyvlm.training import Optimiser, Stage, fit

CONFIG = PixelBERTConfig(
    trunk=ResNetConfig(image_size=16, stem=4, small_stem=True, depths=(1, 1), widths=(4, 6), bottleneck=False),
    bert=BertConfig(vocabulary=30, context=9, width=16, layers=2, heads=2, hidden=32, eps=1e-5, std=0.3, word_std=0.5),
    max_pool=False,
    mask_id=3,
)
RATES = uniform_rates(30, 5, 0.4)


def network(**changes) -> PixelBERT:
    return PixelBERT(CONFIG.replace(**changes)).eval()


def texts(lengths: tuple[int, ...], width: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    """Random words of the given lengths with 0 behind them; and the mask of real tokens."""
    ids = torch.randint(5, 30, (len(lengths), width), generator=torch.Generator().manual_seed(2))
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    return ids.masked_fill(~mask, 0), mask


def batch(pairs: int = 8, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    ids, mask = texts(tuple(4 + i % 6 for i in range(pairs)))
    image = torch.randint(0, 256, (pairs, 3, 16, 16), generator=torch.Generator().manual_seed(4), dtype=torch.uint8)
    return {"image": image, "text": ids, "text_mask": mask, **more}


def pairs(count: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.randn(count, 3, 16, 16).double(), *texts(tuple(5 + i for i in range(count)))


def test_shapes_and_the_score():
    model, (image, ids, mask) = network(answers=7).double(), pairs()
    out = model(image, ids, mask)
    assert out.text_tokens.shape == (4, 9, 16) and out.image_tokens.shape == (4, 16, 16)
    assert out.matching.shape == (4, 2) and out.answers.shape == (4, 7)
    torch.testing.assert_close(out.score.sigmoid(), out.matching.softmax(-1)[:, 1])
    assert network().answer is None and network()(image.float(), ids, mask).answers is None


@pytest.mark.parametrize("max_pool", [False, True])
def test_cells_are_the_projected_grid_row_by_row(max_pool):
    model, image = network(max_pool=max_pool).double(), torch.randn(2, 3, 16, 16).double()
    grid = model.trunk(image)
    side = 2 if max_pool else 4
    cells = model.image_tokens(image)
    assert cells.shape == (2, side * side, 16)
    for y in range(side):
        for x in range(side):
            place = grid[:, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].amax((2, 3)) if max_pool else grid[:, :, y, x]
            torch.testing.assert_close(cells[:, side * y + x], model.projection(place) + model.visual)


@pytest.mark.parametrize("how", ["first", "mean"])
def test_the_pair_is_read_off_the_pooled_words(how):
    model, (image, ids, mask) = network(pool=how, answers=5).double(), pairs()
    out = model(image, ids, mask)
    rows = [out.text_tokens[i, 0] if how == "first" else out.text_tokens[i, : mask[i].sum()].mean(0) for i in range(4)]
    pooled = torch.tanh(model.pooler.dense(torch.stack(rows)))
    torch.testing.assert_close(out.matching, model.match(pooled))
    torch.testing.assert_close(out.answers, model.answer(pooled))


@pytest.mark.parametrize("how", ["first", "mean"])
def test_padding_and_neighbours_in_the_batch_change_nothing(how):
    model, (image, ids, mask) = network(pool=how).double(), pairs(4)
    out, real = model(image, ids, mask), mask.sum(1)
    other = model(image, torch.where(mask, ids, 17), mask)
    torch.testing.assert_close(other.matching, out.matching)
    torch.testing.assert_close(other.image_tokens, out.image_tokens)
    torch.testing.assert_close(other.text_tokens[mask], out.text_tokens[mask])
    for i in range(4):
        alone = model(image[i : i + 1], ids[i : i + 1, : real[i]], mask[i : i + 1, : real[i]])
        torch.testing.assert_close(alone.matching[0], out.matching[i])
        torch.testing.assert_close(alone.text_tokens[0], out.text_tokens[i, : real[i]])


def test_every_word_and_every_cell_influences_the_score():
    model, (image, ids, mask) = network().double(), pairs(2)
    cells = model.image_tokens(image)
    before = model.fuse(cells, ids, mask).score
    for place in range(9):
        changed = ids.clone()
        changed[:, place] = 5 + (ids[:, place] - 4) % 25
        moved = (model.fuse(cells, changed, mask).score - before).abs() > 1e-6
        assert torch.equal(moved, mask[:, place]), place
    for place in range(16):
        changed = cells.clone()
        changed[:, place] += torch.randn(16).double()
        assert ((model.fuse(changed, ids, mask).score - before).abs() > 1e-6).all(), place


def test_the_picture_counts_and_only_through_its_cells():
    model, (image, ids, mask) = network(answers=5).double(), pairs()
    cells, swapped = model.image_tokens(image), model.image_tokens(image.flip(0))
    one, other = model.fuse(cells, ids, mask), model.fuse(swapped, ids, mask)
    assert ((one.score - other.score).abs() > 1e-6).all()
    assert ((one.answers - other.answers).abs().amax(1) > 1e-6).all()
    blind = model.fuse(cells[:, :0], ids, mask)
    assert blind.image_tokens.shape == (4, 0, 16)
    assert torch.equal(blind.matching, model.fuse(swapped[:, :0], ids, mask).matching)
    assert not torch.allclose(blind.score, one.score, atol=1e-3)


def test_each_picture_keeps_its_own_sampled_cells(rng):
    cells, order = torch.randn(3, 16, 5), torch.rand(3, 4096, generator=rng)
    kept = sample_cells(cells, order, 6)
    chosen = [sorted(range(16), key=lambda k: order[i, k].item())[:6] for i in range(3)]
    assert len({tuple(sorted(one)) for one in chosen}) == 3, "the same cells everywhere would hide a shared draw"
    torch.testing.assert_close(kept, torch.stack([cells[i, one] for i, one in enumerate(chosen)]))
    for keep in (None, 16, 100):
        assert sample_cells(cells, order, keep) is cells


def test_the_task_samples_cells_by_its_generator(monkeypatch):
    lengths = []
    task = PixelBERTTask(network(), RATES, cells=5)
    fuse = task.model.fuse
    monkeypatch.setattr(task.model, "fuse", lambda c, i, m: lengths.append(c.shape[:2]) or fuse(c, i, m))
    seeds = [torch.Generator().manual_seed(seed) for seed in (1, 1, 2)]
    drawn = [task.prepare(batch(), one) for one in seeds]
    for name in ("order", "masked", "owner"):
        assert torch.equal(drawn[0][name], drawn[1][name]) and not torch.equal(drawn[0][name], drawn[2][name]), name
    same, again, other = (task({**drawn[0], "order": one["order"]})["ITM"].sum for one in drawn)
    assert same == again != other and lengths == [(16, 5)] * 3
    assert "order" not in PixelBERTTask(network(), RATES).prepare(batch(), seeds[0])


@pytest.mark.parametrize("cells", [None, 5])
def test_one_pass_equals_a_pass_for_each_pair_and_objective(rng, cells):
    task = PixelBERTTask(network(), RATES, cells=cells).eval()
    given, model = task.prepare(batch(), rng), task.model
    terms = task(given)
    seen = model.image_tokens(given["image"])
    if cells:
        seen = sample_cells(seen, given["order"], cells)
    masked = matched = 0.0
    for i in range(8):
        out = model.fuse(seen[i : i + 1], given["masked"][i : i + 1], given["text_mask"][i : i + 1])
        for place in given["chosen"][i].nonzero().flatten().tolist():
            logits = model.word(out.text_tokens[:, place], model.embedding.words)
            masked += F.cross_entropy(logits, given["text"][i, place : place + 1])
        j = given["owner"][i]
        out = model.fuse(seen[i : i + 1], given["text"][j : j + 1], given["text_mask"][j : j + 1])
        matched += F.cross_entropy(out.matching, given["matched"][i : i + 1].long())
    assert list(terms) == ["MLM", "ITM"]
    torch.testing.assert_close(terms["MLM"].sum, masked)
    torch.testing.assert_close(terms["ITM"].sum, matched)
    assert terms["MLM"].count.item() == given["chosen"].sum().item() > 0 and terms["ITM"].count.item() == 8


def test_words_are_predicted_on_matched_pairs_only(rng):
    task = PixelBERTTask(network(), RATES).eval()
    given = task.prepare(batch(), rng)
    one, other = task(given), task({**given, "owner": given["owner"].roll(1)})
    torch.testing.assert_close(one["MLM"].sum, other["MLM"].sum)
    assert abs(one["ITM"].sum.item() - other["ITM"].sum.item()) > 1e-3


def test_half_of_the_captions_are_anothers_unless_the_scenes_are_equal(rng):
    task = PixelBERTTask(network(), RATES)
    given = task.prepare(batch(content=torch.arange(8)), rng)
    own = given["owner"] == torch.arange(8)
    assert own.sum() == 4 and torch.equal(given["matched"], own)
    content = torch.arange(8) // 4
    given = task.prepare(batch(content=content), rng)
    assert torch.equal(given["matched"], content[given["owner"]] == content)
    assert 4 < given["matched"].sum() < 8, "a caption drawn from an equal scene is true"


def test_an_objective_can_be_left_out(rng):
    both = PixelBERTTask(network(), RATES).eval()
    given = both.prepare(batch(), rng)
    expected = both(given)
    for name in ("MLM", "ITM"):
        task = PixelBERTTask(both.model, RATES, mlm=name == "MLM", itm=name == "ITM").eval()
        terms = task(task.prepare(batch(), torch.Generator().manual_seed(0)) | given)
        assert list(terms) == [name]
        torch.testing.assert_close(terms[name].sum, expected[name].sum)
    with pytest.raises(ValueError, match="mlm and itm are both off"):
        PixelBERTTask(both.model, RATES, mlm=False, itm=False)


@pytest.mark.parametrize("frozen", [False, True])
def test_batch_norm_moves_unless_frozen(rng, frozen):
    task = PixelBERTTask(network(), RATES, frozen_norm=frozen).train()
    before = {name: value.clone() for name, value in task.model.trunk.named_buffers()}
    terms = task(task.prepare(batch(), rng))
    sum(term.mean for term in terms.values()).backward()
    same = {name: torch.equal(value, before[name]) for name, value in task.model.trunk.named_buffers()}
    assert set(same.values()) == {frozen}
    assert task.model.blocks.training and task.model.trunk.stem.weight.grad.abs().max() > 0


def test_every_parameter_is_used(rng):
    task = PixelBERTTask(network(answers=4), RATES, cells=6)
    sum(term.mean for term in task(task.prepare(batch(), rng)).values()).backward()
    for name, parameter in task.named_parameters():
        if name.startswith("model.answer."):
            assert parameter.grad is None
        elif ".k.bias" not in name:  # the softmax takes a shift of all logits out again
            assert parameter.grad.abs().max() > 0, name


def test_too_long_a_text_is_refused():
    ids, mask = texts((10, 10), 10)
    with pytest.raises(ValueError, match="text has 10 tokens, this model reads at most 9"):
        network()(torch.zeros(2, 3, 16, 16), ids, mask)


def test_a_saved_model_answers_alike(tmp_path):
    model, (image, ids, mask) = network(answers=5, pool="mean"), pairs()
    with torch.no_grad():
        model.train()(image.float(), ids, mask)  # so that BatchNorm's statistics are not those of a new model
    model.eval().save_pretrained(tmp_path)
    again = PixelBERT.from_pretrained(tmp_path)
    assert again.config == model.config
    one, other = model(image.float(), ids, mask), again(image.float(), ids, mask)
    assert torch.equal(one.matching, other.matching) and torch.equal(one.answers, other.answers)


def test_both_losses_fall_under_two_optimisers():
    task = PixelBERTTask(PixelBERT(CONFIG.replace(pool="mean")), RATES)
    before = {name: value.detach().clone() for name, value in task.named_parameters()}
    colours = (torch.arange(4)[:, None] >> torch.arange(3) & 1).mul(255).to(torch.uint8)
    repeated = batch(4, image=colours[:, :, None, None].expand(4, 3, 16, 16))
    optimisers = (Optimiser("sgd", lr=0.01, weight_decay=5e-4, parameters=r"\.trunk\."), Optimiser(lr=5e-3))
    stage = Stage("pre-train", 60, lambda *_: repeated, optimisers=optimisers)
    losses = fit(task, stage, progress=None, device="cpu").losses
    for name, share in (("MLM", 0.6), ("ITM", 0.85)):  # both are drawn anew in every step
        assert sum(losses[name][-10:]) < share * sum(losses[name][:10]), (name, losses[name])
    after = dict(task.named_parameters())
    for part in ("trunk.stem", "projection", "blocks.0.mlp.branch.up", "word.dense", "match"):
        assert not torch.equal(before[f"model.{part}.weight"], after[f"model.{part}.weight"]), part
