"""Week 5: what each arm trains and sees, what is measured, and what its exercises accept."""

from dataclasses import replace

import pytest
import torch

from tinyvlm.experiments import week05, week05_checks
from tinyvlm.experiments.measure import FACTS, SWAPS
from tinyvlm.experiments.pretrain import name_sprites
from tinyvlm.experiments.worlds import FEW, world
from tinyvlm.models import ALBEF
from tinyvlm.training import Stage, fit

SMOKE = week05.BUDGETS["smoke"]


@pytest.mark.parametrize("name", week05.ARMS)
def test_an_arm_trains_by_the_losses_that_it_names_and_leaves_other_heads_alone(name: str) -> None:
    arm, budget = week05.ARMS[name], replace(SMOKE, tower=1, steps=1, noisy_steps=1, batch=8)
    trained, history = week05.train(arm, 0, budget)
    assert set(history.losses) == {"ITM"} | ({"ITC"} if arm.itc else set()) | ({"MLM"} if arm.mlm else set())
    torch.manual_seed(0)
    before = ALBEF.named("micro")
    moved = {n for (n, a), b in zip(before.named_parameters(), trained.parameters(), strict=True) if not a.equal(b)}
    contrast = {name for name, _ in before.named_parameters() if name.startswith(("image_proj", "text_proj", "temp"))}
    assert contrast <= moved if arm.itc else not contrast & moved
    assert ("word.dense.weight" in moved) == arm.mlm and "match.weight" in moved
    (stage,) = week05.recipe(world("train", 0, 48), arm, budget)
    assert ("negatives" in stage.source(0)) == bool(arm.negatives)


def test_only_arms_with_wrong_captions_see_some(monkeypatch: pytest.MonkeyPatch) -> None:
    stages: list[Stage] = []
    monkeypatch.setattr(week05, "fit", lambda task, given, **options: stages.extend(given))
    for arm in week05.ARMS.values():
        week05.train(arm, 0, replace(SMOKE, tower=1, steps=3, noisy_steps=2, batch=64))
    true = world("train", 0, 48).batch(range(64))["text"]
    for arm, stage in zip(week05.ARMS.values(), stages, strict=True):
        wrong = (stage.source(0)["text"] != true).any(1).double().mean().item()
        assert 0.1 < wrong < 0.5 if arm.wrong else wrong == 0
        assert stage.steps == (2 if arm.wrong else 3)


def test_a_run_can_be_repeated_call_by_call_as_the_chapter_does() -> None:
    budget = replace(SMOKE, tower=2, steps=2)
    expected, history = week05.train(week05.ARMS["ALBEF"], 3, budget)
    torch.manual_seed(3)
    model = ALBEF.named(budget.size)
    size = model.config.vision.image_size
    width, rate = model.config.vision.width, budget.tower_lr
    name_sprites(model.vision, width, FEW, seed=3, size=size, steps=budget.tower, lr=rate)
    stages = week05.recipe(world("train", 3, size), week05.ARMS["ALBEF"], budget)
    task = week05.new_task(model, week05.ARMS["ALBEF"], budget)
    assert fit(task, stages, seed=3, progress=None).loss == history.loss
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), expected.parameters(), strict=True))


def test_everything_is_measured_by_both_scores() -> None:
    found = week05.evaluate(ALBEF.named("micro"), replace(SMOKE, gallery=8, changes=16))
    changes = (*FACTS, *SWAPS, "hard R@1", "hard R@1, chance")
    retrieval = [f"{way} R@{k}" for way in ("image to text", "text to image") for k in (1, 5)]
    assert set(found) == {"hidden nouns", *retrieval, *changes, *(f"towers: {change}" for change in changes)}
    assert all(0 <= value <= 1 for value in found.values())
    assert found["hard R@1, chance"] == found["towers: hard R@1, chance"]


WRONG = {
    "soft_target_gradient": lambda logits, targets: (logits.softmax(1) - targets) / len(logits),
    # Columns for rows: the other direction of retrieval.
    "ceiling": lambda scores, k: ((scores > scores.diagonal()).sum(0) < k).double().mean().item(),
    "lesson": lambda: 2,
}


@pytest.mark.parametrize("name", WRONG)
def test_checks_refuse_wrong_answers(name: str) -> None:
    verdict = getattr(week05_checks, name)(WRONG[name])
    assert not verdict.passed and verdict.message


def test_the_lesson_is_judged_by_what_its_run_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(week05_checks, "UPDATES", 1)
    state = torch.get_rng_state()
    verdict = week05_checks.lesson(lambda: 2e-3)
    assert not verdict.passed and "after 1 updates at 0.002" in verdict.message
    monkeypatch.setattr(week05_checks, "GOAL", 0.0)
    assert week05_checks.lesson(lambda: 2e-3).passed
    assert torch.equal(torch.get_rng_state(), state)


def test_checks_accept_other_right_answers() -> None:
    def derived(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = logits.clone().requires_grad_(True)
        return torch.autograd.grad(-(targets * logits.log_softmax(1)).sum(), logits)[0]

    def counted(scores: torch.Tensor, k: int) -> float:
        better = (scores > scores.diagonal()[:, None]).sum(1)
        return float((better < k).double().mean())

    assert week05_checks.soft_target_gradient(derived).passed
    assert week05_checks.ceiling(counted).passed
