"""Checks of week 7's exercises. Each takes the learner's function and returns a verdict; none raises."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from tinyvlm.experiments import week07
from tinyvlm.experiments.exercises import Verdict, check

# Exercise 3's run is short enough for seconds, and a tenth of the course's rate does not reach its goal.
UPDATES, GOAL = 60, 0.35


def _tensor(value: object, shape: tuple[int, ...], what: str) -> Tensor:
    assert value is not None, f"it returns nothing yet; return {what}."
    assert isinstance(value, Tensor), f"it returns a {type(value).__name__}; return {what}."
    assert tuple(value.shape) == shape, f"it returns the shape {tuple(value.shape)}; {what} has {shape}."
    return value


@check
def variation_of_information(function: Callable[[Tensor], float]) -> Verdict:
    """Exercise 1: against a loop over the cells of random tables, and where the answer is plain."""
    tables = [torch.rand(3, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.double) for seed in range(3)]
    tables += [torch.eye(4, dtype=torch.double), torch.ones(2, 8, dtype=torch.double)]
    for table in tables:
        joint = table / table.sum()
        wanted = 0.0
        for i, t in joint.nonzero().tolist():
            chance = joint[i, t].item()
            wanted -= chance * math.log(chance / joint[i].sum().item())
            wanted -= chance * math.log(chance / joint[:, t].sum().item())
        found = function(joint)
        assert found is not None, "it returns nothing yet; return a number of nats."
        assert math.isfinite(float(found)), f"it returns {float(found)}; a cell of 0 adds nothing, so leave it out."
        assert abs(float(found) - wanted) < 1e-6, (
            f"for a table of {tuple(joint.shape)} it returns {float(found):.4f} instead of {wanted:.4f}; the rows are "
            "images, the columns texts, and both conditional entropies count."
        )
    return Verdict(True, "0 where each tells the other, and the sum of both entropies where neither does.")


@check
def best_guess(function: Callable[[Tensor, int], Tensor]) -> Verdict:
    """Exercise 2: no other value of a grid may have a lower loss, pixel by pixel."""
    generator = torch.Generator().manual_seed(0)
    for pictures, pixels in ((5, 4), (9, 3), (7, 1)):
        values = torch.rand(pictures, pixels, generator=generator).round(decimals=2)
        for power in (1, 2):
            found = _tensor(function(values.clone(), power), (pixels,), "one value a pixel")
            grid = torch.linspace(-0.2, 1.2, 1401)
            losses = (values[:, None] - grid[:, None]).abs().pow(power).mean(0)
            reached = (values - found).abs().pow(power).mean(0)
            assert (reached <= losses.amin(0) + 1e-4).all(), (
                f"for the power {power} another value than {found[0].item():.3f} has a lower mean loss over "
                f"{pictures} pictures."
            )
    return Verdict(True, "the median under L1, the mean under L2.")


@check
def lesson(function: Callable[[], float]) -> Verdict:
    """Exercise 3: a short run of masked image modelling at the learner's rate, and what it reached."""
    rate = function()
    assert rate is not None, "it returns nothing yet; return a learning rate."
    assert isinstance(rate, float) and 0 < rate < 1, f"it returns {rate!r}; return a float between 0 and 1."
    alone, budget = week07.Arm(itc=False, itm=False, mlm=False), week07.BUDGETS["smoke"]
    with torch.random.fork_rng(devices=[]):
        _, history = week07.train(alone, 0, replace(budget, steps=UPDATES, lr=rate))
    last = history.losses["MIM"][-10:]
    found = sum(last) / len(last)
    reached = f"after {UPDATES} updates at {rate:g} the loss on hidden pixels is {found:.3f}"
    assert found <= GOAL, f"{reached}; the goal is {GOAL:g}."
    return Verdict(True, f"{reached}.")
