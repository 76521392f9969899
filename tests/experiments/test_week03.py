"""Week 3: what its comparisons spend, what reaches the loss, and what its exercises accept."""

from dataclasses import replace

import pytest
import torch

from tinyvlm.experiments import week03, week03_checks
from tinyvlm.experiments.measure import SWAPS
from tinyvlm.experiments.worlds import FEW, world
from tinyvlm.models.clip import CLIP, CLIPTask
from tinyvlm.models.task import Term


def test_comparison_arms_spend_what_their_names_say() -> None:
    budget = week03.BUDGETS["cpu"]
    spent = {name: week03.updates(arm, budget) for name, arm in week03.ARMS.items()}
    equal = [steps * batch for name, (steps, batch) in spent.items() if week03.ARMS[name].equal == "samples"]
    assert max(equal) - min(equal) < 512  # whole batches only
    assert len({steps for name, (steps, _) in spent.items() if week03.ARMS[name].equal == "steps"}) == 1
    assert spent["batch 64, equal steps"][1] == 64 and spent["batch 512, equal samples"][1] == 512
    assert spent["CLIP"] == (budget.steps, budget.batch)
    assert spent["CLIP, few objects"] == (budget.few_steps, budget.batch)


def test_an_arm_changes_what_is_read_and_nothing_else() -> None:
    budget = week03.BUDGETS["cpu"]
    micro = CLIP.Config.named("micro")
    config = week03.configuration(week03.ARMS[week03.TOKENS], budget)
    assert (config.image_pool, config.text_pool, config.vision.class_token) == ("first", "last", True)
    back = config.replace(image_pool="mean", text_pool="mean", vision=config.vision.replace(class_token=False))
    assert back == micro == week03.configuration(week03.ARMS["CLIP"], budget)
    assert week03.updates(week03.ARMS[week03.TOKENS], budget) == week03.updates(week03.ARMS["CLIP"], budget)


def test_captions_of_few_objects_are_those_of_later_weeks_in_four_more_places() -> None:
    """So that stored rows of single changes may stand side by side."""
    ours, theirs = week03.world("val", 0, 48, FEW), world("val", 0, 48)
    assert ours.captions(range(8)) == theirs.captions(range(8))
    ours, theirs = ours.batch(range(8)), theirs.batch(range(8))
    assert torch.equal(ours["image"], theirs["image"])
    assert ours["text"].shape[1] == 24 and torch.equal(ours["text"][:, :20], theirs["text"])


def test_swapped_captions_reach_the_loss() -> None:
    """Extra negatives add candidates, so that an untrained model's loss rises."""
    torch.manual_seed(0)
    task = CLIPTask(CLIP.named("micro"))
    losses: list[Term] = []
    for name in ("CLIP, few objects", "CLIP + swapped captions, few objects"):
        budget = replace(week03.BUDGETS["smoke"], batch=8)
        (stage,) = week03.recipe(week03.world("train", 0, 48, FEW), week03.ARMS[name], budget)
        losses.append(task(task.prepare(stage.source(0), torch.Generator()))["contrastive"])
    assert week03.ARMS[name].negatives == SWAPS
    assert losses[1].mean > losses[0].mean + 0.01 and losses[0].count == losses[1].count == 8


@pytest.mark.slow
def test_a_short_run_learns() -> None:
    budget = replace(week03.BUDGETS["smoke"], steps=60, gallery=64)
    model = week03.train(week03.ARMS["CLIP"], 0, budget)
    found = week03.evaluate(model, budget)
    assert found["image to text R@1"] > 5 / 64 and found["background"] > 0.8, found


WRONG = {
    "temperature_gradient": lambda cosines, t: 0.0,
    "lowest_loss": lambda n, tau: 0.0,
    "shuffle_words": lambda caption, generator: caption,
    "fixed_temperature": lambda: 1.0,
}


@pytest.mark.parametrize("name", WRONG)
def test_checks_refuse_wrong_answers(name: str) -> None:
    verdict = getattr(week03_checks, name)(WRONG[name])
    assert not verdict.passed and verdict.message
