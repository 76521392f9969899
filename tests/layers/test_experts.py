"""Experts by kind of token against a loop over tokens."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tinyvlm.layers import Block, Experts, FeedForward, Residual

NAMES = ("text", "vision", "both")


def experts(width: int = 4) -> Experts:
    return Experts(**{name: FeedForward(width, 6) for name in NAMES}).double()


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 4)), min_size=1, max_size=4), st.integers(0, 1000))
def test_every_token_passes_the_expert_of_its_place(route, seed):
    torch.manual_seed(seed)
    layer = experts()
    owners = [name for name, length in route for _ in range(length)]
    x = torch.randn(2, len(owners), 4).double()
    found = layer(x, route)
    assert found.shape == x.shape
    for row in range(2):
        for place, owner in enumerate(owners):
            torch.testing.assert_close(found[row, place], layer[owner](x[row, place]))


def test_an_expert_learns_from_its_own_tokens_only():
    layer, x = experts(), torch.randn(2, 5, 4).double().requires_grad_()
    layer(x, [("text", 3), ("vision", 2)])[:, 3:].square().sum().backward()
    assert all((p.grad is None or (p.grad == 0).all()) for p in layer["text"].parameters())
    assert all(p.grad.abs().sum() > 0 for p in layer["vision"].parameters())
    assert all(p.grad is None for p in layer["both"].parameters())
    assert (x.grad[:, :3] == 0).all() and (x.grad[:, 3:] != 0).any()


def test_a_block_routes_its_feed_forward_and_experts_may_own_their_norms():
    """VLMo's block: the residual has no norm, the experts have one each, and LayerScale starts as a vector."""
    parts = {name: nn.Sequential(nn.LayerNorm(4), FeedForward(4, 6)) for name in NAMES}
    block = Block(mlp=Residual(nn.Identity(), Experts(**parts), scale=torch.full((4,), 0.1)))
    x = torch.randn(2, 5, 4)
    found = block(x, mlp={"route": [("vision", 2), ("text", 3)]})
    branches = torch.cat([parts["vision"](x[:, :2]), parts["text"](x[:, 2:])], 1)
    torch.testing.assert_close(found, x + 0.1 * branches)


@pytest.mark.parametrize(
    ("route", "message"),
    [
        ([("text", 3), ("sound", 2)], "Experts: no expert named sound; choose from text, vision, both"),
        ([("text", 3)], "Experts: the route covers 3 of 5 tokens; give each one expert"),
        ([("text", 3), ("vision", 3)], "Experts: the route covers 6 of 5 tokens"),
    ],
)
def test_a_route_that_does_not_fit_is_named(route, message):
    with pytest.raises(ValueError, match=message):
        experts()(torch.randn(1, 5, 4).double(), route)
