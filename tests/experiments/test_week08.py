"""Week 8: what its arms train, which way its claims point, and what its exercises accept."""

from dataclasses import replace

import pytest
import torch

from tinyvlm.experiments import week08, week08_checks

# Claim, what lies elsewhere than at 0.5, the difference: read by test_weeks.py.
CASES: list[tuple[str, dict[str, dict[str, float]], float]] = [
    ("tower", {"VLMo": {"top-1": 0.9}}, 0.4),
    ("tower", {"VLMo": {"top-1": 0.54}}, 0.04),
    ("tower", {"frozen tower": {"top-1": 0.9}}, -0.4),
]


def test_a_frozen_tower_keeps_its_weights() -> None:
    budget = replace(week08.BUDGETS["smoke"], steps=3, batch=8)
    torch.manual_seed(0)
    before = week08.new_task(budget).model
    for name, arm in week08.ARMS.items():
        model, history = week08.train(arm, 0, budget)
        weight = model.tower.patches.weight.detach().cpu()
        assert torch.equal(weight, before.tower.patches.weight) == (name == "frozen tower")
        assert len(history.loss) == 3 and model.head.weight.abs().max() > 0


@pytest.mark.slow
def test_a_short_run_learns() -> None:
    budget = replace(week08.BUDGETS["smoke"], steps=80)
    model, _ = week08.train(week08.ARMS["VLMo"], 0, budget)
    assert week08.evaluate(model, budget)["top-1"] > 3 / budget.nouns


WRONG = {"token_count": lambda image_size, patch: image_size // patch, "first_loss": lambda classes: 1 / classes}


@pytest.mark.parametrize("name", WRONG)
def test_checks_refuse_wrong_answers(name: str) -> None:
    verdict = getattr(week08_checks, name)(WRONG[name])
    assert not verdict.passed and verdict.message
