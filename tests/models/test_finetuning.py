"""Fine-tuning for questions and for retrieval: the losses against loops, what gets gradients, what stays frozen."""

import math

import pytest
import torch

from tinyvlm.encoders import BertConfig
from tinyvlm.encoders.resnet import ResNetConfig
from tinyvlm.models import PixelBERT, PixelBERTConfig
from tinyvlm.models.finetuning import AnswerTask, RetrievalTask
from tinyvlm.training import Optimiser, Stage, fit

CONFIG = PixelBERTConfig(
    trunk=ResNetConfig(image_size=16, stem=4, small_stem=True, depths=(1, 1), widths=(4, 6), bottleneck=False),
    bert=BertConfig(vocabulary=30, context=9, width=16, layers=2, heads=2, hidden=32, eps=1e-5, std=0.3, word_std=0.5),
    max_pool=False,
)


def network(answers: int = 0) -> PixelBERT:
    return PixelBERT(CONFIG.replace(answers=answers)).eval()


def batch(pairs: int, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(4)
    mask = torch.arange(9)[None] < torch.tensor([4 + i % 6 for i in range(pairs)])[:, None]
    ids = torch.randint(5, 30, (pairs, 9), generator=rng).masked_fill(~mask, 0)
    image = torch.randint(0, 256, (pairs, 3, 16, 16), generator=rng, dtype=torch.uint8)
    return {"image": image, "text": ids, "text_mask": mask, **more}


def questions(count: int = 6, answers: int = 4) -> dict[str, torch.Tensor]:
    return batch(count, label=torch.arange(count) % answers)


def doubled(task, given: dict[str, torch.Tensor], seed: int = 0) -> dict[str, torch.Tensor]:
    """The prepared batch, and from here on the task, in double precision: oracles then agree to many digits."""
    task.double()
    prepared = task.prepare(given, torch.Generator().manual_seed(seed))
    return {**prepared, "image": prepared["image"].double()}


@pytest.mark.parametrize("blind", [False, True])
def test_questions_are_binary_cross_entropy_of_every_answer(blind):
    task = AnswerTask(network(4), blind=blind).eval()
    given = doubled(task, questions())
    cells, total = task.model.image_tokens(given["image"]), 0.0
    for i in range(6):
        seen = cells[i : i + 1, :0] if blind else cells[i : i + 1]
        out = task.model.fuse(seen, given["text"][i : i + 1], given["text_mask"][i : i + 1])
        for answer, logit in enumerate(out.answers[0].tolist()):
            chance = 1 / (1 + math.exp(-logit))
            total -= math.log(chance if answer == given["label"][i] else 1 - chance)
    term = task(given)["answers"]
    assert term.sum.item() == pytest.approx(total) and term.count.item() == 6


def test_a_blind_model_sees_and_trains_no_picture():
    task = AnswerTask(network(4), blind=True).eval()
    given = doubled(task, questions())
    term = task(given)["answers"]
    assert torch.equal(term.sum, task({**given, "image": given["image"].flip(0)})["answers"].sum)
    term.sum.backward()
    for part in (task.model.trunk, task.model.projection):
        assert all(p.grad is None or not p.grad.any() for p in part.parameters())
    assert task.model.answer[0].weight.grad.any() and task.model.embedding.words.weight.grad.any()
    seeing = AnswerTask(task.model).eval()
    assert not torch.equal(
        seeing(given)["answers"].sum, seeing({**given, "image": given["image"].flip(0)})["answers"].sum
    )
    seeing(given)["answers"].sum.backward()
    assert task.model.trunk.stem.weight.grad.any()


def test_questions_need_a_head():
    with pytest.raises(ValueError, match="no question head; build it with answers=number of answers"):
        AnswerTask(network())


def test_a_few_questions_are_learnt_by_heart():
    task = AnswerTask(PixelBERT(CONFIG.replace(answers=4)))
    losses = fit(task, Stage("s", 30, lambda *_: questions()), progress=None, device="cpu").losses["answers"]
    assert losses[0] > 2 and losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("scenes", [30, 12])
def test_candidates_are_the_own_caption_and_others_scenes(scenes):
    """With 12 scenes of 2 or 3 captions among 30 there are still 20 captions of other scenes for everyone."""
    content = torch.arange(30) % scenes
    task, drawn = RetrievalTask(network()), []
    for seed in range(5):
        candidates = task.prepare(batch(30, content=content), torch.Generator().manual_seed(seed))["candidates"]
        assert candidates.shape == (30, 21) and torch.equal(candidates[:, 0], torch.arange(30))
        assert all(len(set(row)) == 21 for row in candidates.tolist())
        assert (content[candidates[:, 1:]] != content[:, None]).all()
        drawn.append(candidates)
    assert torch.equal(
        drawn[0], task.prepare(batch(30, content=content), torch.Generator().manual_seed(0))["candidates"]
    )
    assert not torch.equal(drawn[0].sort(1).values, drawn[1].sort(1).values)
    counts = torch.cat([one[:, 1:].flatten() for one in drawn]).bincount(minlength=30)
    assert counts.min() > 60, "every caption is drawn about 100 times"


def test_captions_of_the_same_scene_come_last_when_there_is_too_little_else(rng):
    content = torch.arange(8) // 4
    candidates = RetrievalTask(network(), negatives=6).prepare(batch(8, content=content), rng)["candidates"]
    same = content[candidates] == content[:, None]
    assert torch.equal(same, torch.tensor([True] + 4 * [False] + 2 * [True]).expand(8, 7))


def slow_retrieval(task: RetrievalTask, given: dict[str, torch.Tensor], detach: bool) -> torch.Tensor:
    """Picture by picture, all scores with gradient; with `detach` all but the true and the hardest are constants."""
    cells, total = task.model.image_tokens(given["image"]), 0.0
    for i, row in enumerate(given["candidates"].tolist()):
        seen = cells[i].expand(len(row), *cells[i].shape)
        scores = task.model.fuse(seen, given["text"][row], given["text_mask"][row]).score.unbind()
        hardest = sorted(range(1, len(row)), key=lambda place: -scores[place].item())[: task.hardest]
        if detach:
            scores = [score if place in [0, *hardest] else score.detach() for place, score in enumerate(scores)]
        total = total + torch.stack(scores).logsumexp(0) - scores[0]
    return total


@pytest.mark.parametrize(("pairs", "candidates"), [(23, 21), (9, 9), (4, 4)])
def test_retrieval_is_cross_entropy_with_gradient_through_the_hardest(pairs, candidates):
    task = RetrievalTask(network()).eval()
    given = doubled(task, batch(pairs))
    assert given["candidates"].shape == (pairs, candidates)
    term = task(given)["retrieval"]
    parameters = {n: p for n, p in task.model.named_parameters() if n.startswith(("blocks.", "match.", "projection."))}

    def gradients(loss: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(loss, list(parameters.values()))

    slow = slow_retrieval(task, given, detach=True)
    torch.testing.assert_close(term.sum, slow)
    assert term.count.item() == pairs and candidates * math.exp(-slow.item() / pairs) > 0.1
    ours = gradients(term.sum)
    for name, one, other in zip(parameters, ours, gradients(slow), strict=True):
        torch.testing.assert_close(one, other, msg=name)
    through_all = gradients(slow_retrieval(task, given, detach=False))
    alike = [torch.allclose(one, other) for one, other in zip(ours, through_all, strict=True)]
    assert all(alike) if candidates <= 6 else not any(alike[:2])


def test_hardest_counts_the_learning_negatives():
    given = doubled(RetrievalTask(network()), batch(9))
    model = network().double()
    losses = [RetrievalTask(model, hardest=count).eval()(given)["retrieval"].sum for count in (1, 5, 20)]
    norms = [torch.autograd.grad(loss, model.match.weight)[0].norm().item() for loss in losses]
    torch.testing.assert_close(losses[0], losses[2])
    assert len({round(norm, 6) for norm in norms}) == 3


def test_the_cnn_stays_frozen_while_the_rest_learns():
    task = RetrievalTask(PixelBERT(CONFIG.replace(pool="mean")))
    before = {name: value.clone() for name, value in task.model.trunk.state_dict().items()}
    colours = (torch.arange(4)[:, None] >> torch.arange(3) & 1).mul(255).to(torch.uint8)
    repeated = batch(4, image=colours[:, :, None, None].expand(4, 3, 16, 16))
    optimisers = (Optimiser(lr=5e-3),)
    stage = Stage("retrieval", 30, lambda *_: repeated, trainable=r"^model\.(?!trunk)", optimisers=optimisers)
    losses = fit(task, stage, progress=None, device="cpu").losses["retrieval"]
    assert losses[0] > 1 and losses[-1] < 0.3 * losses[0]
    assert all(torch.equal(value, before[name]) for name, value in task.model.trunk.state_dict().items())
    task.train()
    assert task.model.blocks.training and not any(module.training for module in task.model.trunk.modules())
