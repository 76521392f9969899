"""Checks of week 8's exercises. Each takes the learner's function and returns a verdict; none raises."""

import math
from collections.abc import Callable

import torch

from tinyvlm.experiments.exercises import Verdict, check
from tinyvlm.models.vlmo import VLMo, VLMoConfig, VLMoTask


def _number(value: object) -> float:
    assert value is not None, "it returns nothing yet; return a number."
    return float(value)  # type: ignore[arg-type]


@check
def token_count(function: Callable[[int, int], int]) -> Verdict:
    """Exercise 1: against the towers of all named sizes."""
    for size in VLMoConfig.SIZES:
        tower = VLMoConfig.named(size).tower
        found = _number(function(tower.image_size, tower.patch))
        assert found == tower.tokens, (
            f"for {tower.image_size} px in patches of {tower.patch} it returns {found:g}, the tower has {tower.tokens}."
        )
    return Verdict(True, "as many tokens as the tower puts out.")


@check
def first_loss(function: Callable[[int], float]) -> Verdict:
    """Exercise 2: against the loss of an untrained network."""
    for classes in (2, 16, 64):
        model = VLMo.named("micro", classes=classes)
        side = model.config.tower.image_size
        batch = {"image": torch.zeros(4, 3, side, side), "label": torch.arange(4) % classes}
        with torch.no_grad():
            wanted = VLMoTask(model)(batch)["cross_entropy"].mean.item()
        found = _number(function(classes))
        assert math.isclose(found, wanted, abs_tol=1e-4), (
            f"for {classes} classes it returns {found:.4f}, an untrained network's loss is {wanted:.4f}."
        )
    return Verdict(True, "it is what guessing costs.")
