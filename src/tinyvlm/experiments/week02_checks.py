"""Checks of week 2's exercises. Each takes the learner's function and returns a verdict; none raises."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from numbers import Real

import torch
from torch import Tensor, nn

from tinyvlm.encoders.vision import VisionConfig, vision_block
from tinyvlm.experiments import week02
from tinyvlm.experiments.exercises import Verdict, check
from tinyvlm.layers import Stack
from tinyvlm.models.vit import ViT

Encoder = Callable[[Tensor], Tensor]


@check
def parameter_count(function: Callable[[int, int, int, int, int, int], int]) -> Verdict:
    """Exercise 1: against models counted on the meta device."""
    for size in ("B/16", "B/32", "L/16", "H/14", "micro"):
        with torch.device("meta"):
            model = ViT.named(size)
        tower = model.config.tower
        found = function(tower.image_size, tower.patch, tower.width, tower.layers, tower.hidden, model.config.classes)
        assert found is not None, "it returns nothing yet; return a number."
        assert found == model.count(), (
            f"for {size} it returns {found:,}, the model has {model.count():,}: {model.count() - found:+,} are missing "
            f"(width {tower.width}, {tower.layers} layers)."
        )
    return Verdict(True, "every weight of B/16 and of four other sizes is accounted for.")


@check
def resize_positions(function: Callable[[Tensor, int], Tensor]) -> Verdict:
    """Exercise 2: 224 to 384 pixels in patches of 16, a grid of 14 by 14 to one of 24 by 24."""
    width, side, new = 8, 14, 24
    constant = torch.arange(float(width)).expand(side * side, width)
    token = torch.full((1, width), -7.0)
    found = function(torch.cat([token, constant]), new)
    assert isinstance(found, Tensor), "it returns nothing yet; return the new table."
    wanted = (new * new + 1, width)
    assert found.shape == wanted, f"the new table has shape {list(found.shape)} instead of {list(wanted)}."
    assert torch.equal(found[:1], token), "the class token's entry stands for no place: keep it as it is, in front."
    assert torch.allclose(found[1:], constant[:1].expand(new * new, width), atol=1e-4), (
        "a table that is the same everywhere must stay the same everywhere (did the class token's entry leak in, or "
        "were channels and places mixed?)."
    )
    ramp = torch.stack([torch.arange(side * side) // side, torch.arange(side * side) % side], 1).float()
    down, across = function(torch.cat([torch.zeros(1, 2), ramp]), new)[1:].T.reshape(2, new, new)
    for name, grid in (("from top to bottom", down), ("from left to right", across.T)):
        assert torch.allclose(grid, grid[:, :1].expand(new, new), atol=1e-4), (
            f"what grows {name} only must still do so: keep rows and columns apart."
        )
        # Cubic interpolation may bend a little at the border.
        assert bool((grid[:, 0].diff()[2:-2] > 0).all()) and abs(grid.mean() - (side - 1) / 2) < 0.1, (
            f"what grows {name} must grow in the same direction over the same range."
        )
    return Verdict(True, "grids are interpolated in two dimensions and the class token is left alone.")


@check
def equivariance_gap(function: Callable[[Encoder, Tensor, Tensor], float]) -> Verdict:
    """Exercise 3: on encoders that are equivariant, and on two that are not, with known gaps."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, 6, 16, generator=generator)
    order = torch.randperm(6, generator=generator)
    blocks = Stack(vision_block(VisionConfig(width=16, heads=2, hidden=32)) for _ in range(2)).eval()
    table = torch.randn(6, 16, generator=generator)
    encoders: dict[str, tuple[Encoder, bool]] = {
        "Transformer blocks": (blocks, True),
        "a linear layer per token": (nn.Linear(16, 4), True),
        "a running sum": (lambda x: x.cumsum(1), False),
        "Transformer blocks behind a position table": (lambda x: blocks(x + table), False),
    }
    with torch.no_grad():
        for name, (encoder, equivariant) in encoders.items():
            found = function(encoder, tokens, order)
            assert found is not None, "it returns nothing yet; return a number."
            wanted = (encoder(tokens[:, order]) - encoder(tokens)[:, order]).abs().max().item()
            assert abs(float(found) - wanted) < 1e-4, (
                f"for {name} it returns {float(found):.4g}; shuffling first and shuffling afterwards differ by "
                f"{wanted:.4g}{' (rounding)' if equivariant else ''}."
            )
    return Verdict(True, "blocks commute with a shuffle of the tokens; a position table ends that.")


@check
def own_rate(function: Callable[[], float]) -> Verdict:
    """Exercise 4: a ViT with mean pooling, trained for 40 updates at 0.001 and at the learner's rate."""
    usual, share = 1e-3, 0.6
    rate = function()
    assert rate is not None, "it returns nothing yet; return a learning rate."
    assert isinstance(rate, Real) and 0 < rate < 1, f"it returns {rate!r}; a learning rate lies between 0 and 1."
    reached, before = _loss_reached(float(rate)), _loss_reached(usual)
    assert reached <= share * before, (
        f"at {rate:g} the last losses average {reached:.2f}, at {usual:g} {before:.2f}; at most {share * before:.2f} "
        "is wanted. Try a few rates, half and twice as large."
    )
    return Verdict(
        True,
        f"at {rate:g} the last losses average {reached:.2f}, at {usual:g} {before:.2f}. The class token may gain as "
        "much: compare two designs only when each has its own rate.",
    )


@cache
def _loss_reached(rate: float) -> float:
    """Mean loss of the last five of 40 updates on 1,000 pictures of 8 nouns, a ViT with mean pooling, seed 0."""
    budget = replace(week02.BUDGETS["smoke"], steps=40, nouns=8, lr=rate)
    _, history = week02.train("ViT with mean pooling", 1_000, seed=0, budget=budget)
    return sum(history.loss[-5:]) / 5
