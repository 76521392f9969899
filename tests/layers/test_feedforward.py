"""The feed-forward branch and its activations."""

import math

import pytest
import torch
from torch import nn

from tinyvlm.layers import FeedForward
from tinyvlm.layers.feedforward import ACTIVATIONS

FORMULAS = {
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "quick_gelu": lambda x: x / (1 + math.exp(-1.702 * x)),
    "relu": lambda x: max(x, 0.0),
    "silu": lambda x: x / (1 + math.exp(-x)),
}


def test_every_activation_has_its_formula_here():
    assert set(FORMULAS) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_are_their_formulas(name):
    x = torch.linspace(-4, 4, 41, dtype=torch.double)
    expected = torch.tensor([FORMULAS[name](value) for value in x.tolist()], dtype=torch.double)
    torch.testing.assert_close(ACTIVATIONS[name](x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_feed_forward_is_up_activation_down(name):
    layer, x = FeedForward(4, 10, name), torch.randn(2, 3, 4)
    inner = x @ layer.up.weight.T + layer.up.bias
    expected = ACTIVATIONS[name](inner) @ layer.down.weight.T + layer.down.bias
    torch.testing.assert_close(layer(x), expected)
    assert layer.up.weight.shape == (10, 4) and layer.down.weight.shape == (4, 10)


def test_bias_and_dropout_options():
    bare = FeedForward(4, 6, bias=False)
    assert bare.up.bias is None and bare.down.bias is None
    layer, x = FeedForward(4, 600, "relu", dropout=0.5), torch.ones(1, 4)
    nn.init.ones_(layer.up.weight)
    nn.init.ones_(layer.down.weight)
    for bias in (layer.up.bias, layer.down.bias):
        nn.init.zeros_(bias)
    assert (layer.eval()(x) == 2400).all()
    noisy = layer.train()(x)
    assert (noisy != 2400).any() and (noisy - 2400).abs().max() < 600
    assert torch.equal(noisy, noisy[:, :1].expand_as(noisy)), "hidden units are dropped, not outputs"


def test_an_unknown_activation_lists_the_known():
    with pytest.raises(ValueError, match=r"unknown activation 'swish'; choose from gelu, .*silu"):
        FeedForward(4, 8, "swish")
