"""Checks of week 3's exercises. Each takes the learner's function and returns a verdict; none raises."""

import math
import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from tinyvlm.experiments import scores, week03
from tinyvlm.experiments.exercises import Verdict, check
from tinyvlm.experiments.measure import WAYS, retrieval

# Exercise 4 trains twice; 40 updates of 32 pairs take a few seconds each.
SHORT = replace(week03.BUDGETS["smoke"], comparison_samples=40 * 32, gallery=128)


def _number(value: object) -> float:
    assert value is not None, "it returns nothing yet; return a number."
    return float(value)  # type: ignore[arg-type]


@check
def temperature_gradient(function: Callable[[Tensor, float], float]) -> Verdict:
    """Exercise 1: against the gradient that PyTorch finds."""
    for seed, n, start in ((0, 5, 2.66), (1, 9, 0.0)):
        generator = torch.Generator().manual_seed(seed)
        one, other = (F.normalize(torch.randn(n, 7, generator=generator), dim=-1) for _ in range(2))
        t = torch.tensor(start, requires_grad=True)
        F.cross_entropy(t.exp() * one @ other.T, torch.arange(n)).backward()
        assert t.grad is not None
        wanted, found = t.grad.item(), _number(function(one @ other.T, start))
        assert math.isclose(wanted, found, rel_tol=1e-4, abs_tol=1e-5), (
            f"for {n} pairs at t = {start} it returns {found:.5f}, autograd says {wanted:.5f}."
        )
    return Verdict(True, "it agrees with autograd.")


@check
def lowest_loss(function: Callable[[int, float], float]) -> Verdict:
    """Exercise 2: against the loss of pairs that really are spread like that."""
    for n, tau in ((2, 1.0), (8, 0.5), (100, 0.07)):
        cosines = torch.full((n, n), -1 / (n - 1), dtype=torch.float64).fill_diagonal_(1.0)
        wanted = F.cross_entropy(cosines / tau, torch.arange(n)).item()
        found = _number(function(n, tau))
        assert math.isclose(wanted, found, rel_tol=1e-6, abs_tol=1e-9), (
            f"for n = {n} at temperature {tau} it returns {found:.6g}, the loss of such pairs is {wanted:.6g}."
        )
    return Verdict(True, "it is the loss of perfectly spread pairs.")


@check
def shuffle_words(function: Callable[[str, random.Random], str]) -> Verdict:
    """Exercise 3: the same words in another order."""
    caption = "on cream we find top left the dog on red and bottom right the cat on blue"
    orders = set()
    for seed in range(20):
        found = function(caption, random.Random(seed))
        assert isinstance(found, str), "it returns nothing yet; return the shuffled caption as a string."
        assert sorted(found.split()) == sorted(caption.split()), f"{found!r} does not hold the same words."
        assert found != caption, "it returned the caption unchanged; draw again when that happens."
        orders.add(found)
    assert len(orders) > 10, "it hardly depends on the generator; use it to shuffle."
    assert function("dog dog", random.Random(0)) == "dog dog", "two equal words have no other order; return them."
    return Verdict(True, "the same words, another order.")


@check
def fixed_temperature(function: Callable[[], float]) -> Verdict:
    """Exercise 4: a short run at the learner's temperature against the same run at 1."""
    chosen = _number(function())
    assert 0 < chosen < 1, f"it returns {chosen:g}; return a temperature above 0 and below 1."
    own, one = _short_run(chosen), _short_run(1.0)
    told = f"R@5 among {SHORT.gallery} scenes is {own:.3f} at {chosen:g} and {one:.3f} at 1"
    assert own > one + 0.1, f"{told}; it has to rise by more than 0.1."
    return Verdict(True, f"{told}.")


@cache
def _short_run(temperature: float) -> float:
    """R@5, the worse direction, after 40 updates of 32 pairs at a fixed temperature."""
    arm = replace(week03.ARMS["temperature fixed at 1"], pairs=32, temperature=temperature)
    model = week03.train(arm, 0, SHORT).eval()
    scenes = week03.world("val", 0, model.config.vision.image_size, arm.spec)
    found = retrieval(scores.cosines(model), scenes, SHORT.gallery)
    return min(found[f"{way} R@5"] for way in WAYS)
