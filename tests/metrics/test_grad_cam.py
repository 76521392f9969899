"""Grad-CAM on attention: against derivatives by hand and finite differences; what recording must leave alone."""

import pytest
import torch
from einops import rearrange
from torch import Tensor

from tinyvlm.layers import Attention, Mask, record_attention
from tinyvlm.metrics.attention import grad_cam


@pytest.fixture
def cross() -> Attention:
    return Attention(6, 2, context_width=5).double()


def draw(rows: int = 2) -> tuple[Tensor, Tensor]:
    """Three words of width 6, four patches of width 5."""
    return torch.randn(rows, 3, 6, dtype=torch.double), torch.randn(rows, 4, 5, dtype=torch.double)


def rated(out: Tensor) -> Tensor:
    """One number an example, not linear in anything."""
    return out.sin().sum((1, 2)) + out.square().mean((1, 2))


def record(attention: Attention, x: Tensor, context: Tensor, **inputs) -> tuple[Tensor, Tensor]:
    with record_attention(attention, graph=True) as maps:
        score = rated(attention(x, context, **inputs))
    return maps[""][0], score


def test_by_hand_one_head_and_a_linear_score():
    """score = sum of c * out: its derivative by the weight of word q on patch k is (c_q W_out) . v_k."""
    attention = Attention(4, 1, context_width=5).double()
    x, context = torch.randn(2, 3, 4, dtype=torch.double), torch.randn(2, 7, 5, dtype=torch.double)
    c = torch.randn(3, 4, dtype=torch.double)
    with record_attention(attention, graph=True) as maps:
        score = (attention(x, context) * c).sum((1, 2))
    (weights,) = maps[""]
    with torch.no_grad():
        slope = torch.einsum("qw,wd,bkd->bqk", c, attention.out.weight, attention.v(context))
        expected = (weights[:, 0] * slope).clamp_min(0)
    torch.testing.assert_close(grad_cam(weights, score), expected)
    assert 0 < (expected == 0).double().mean() < 1  # both signs were tried


def test_finite_differences(cross):
    x, context = draw()
    weights, score = record(cross, x, context)
    found = grad_cam(weights, score)
    values, step = cross._split(cross.v(context)), 1e-6

    def scored(weights: Tensor) -> Tensor:
        return rated(cross.out(rearrange(weights @ values, "b h q d -> b q (h d)")))

    with torch.no_grad():
        torch.testing.assert_close(scored(weights), score)
        slope = torch.zeros_like(weights)
        for place in torch.cartesian_prod(*(torch.arange(size) for size in weights.shape[1:])).tolist():
            bump = torch.zeros_like(weights[0])
            bump[tuple(place)] = step
            slope[(slice(None), *place)] = (scored(weights + bump) - scored(weights - bump)) / (2 * step)
        expected = (weights * slope).clamp_min(0).mean(1)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_what_lowers_the_score_is_cut(cross):
    weights, score = record(cross, *draw())
    for_it, against = grad_cam(weights, score), grad_cam(weights, -score)
    assert (for_it >= 0).all() and (against >= 0).all()
    (slope,) = torch.autograd.grad(score.sum(), weights, retain_graph=True)
    torch.testing.assert_close(for_it - against, (weights * slope).mean(1))


def test_examples_do_not_mix_and_nothing_is_left_behind(cross):
    x, context = draw(3)
    together = grad_cam(*record(cross, x, context))
    for i in range(3):
        torch.testing.assert_close(grad_cam(*record(cross, x[i : i + 1], context[i : i + 1]))[0], together[i])
    assert not together.requires_grad and all(parameter.grad is None for parameter in cross.parameters())
    assert cross.recorder is None


def test_patches_that_are_masked_get_nothing(cross):
    real = torch.tensor([[True, True, False, True], [True, False, False, True]])
    found = grad_cam(*record(cross, *draw(), mask=Mask(padding=real)))
    assert (found.transpose(1, 2)[~real] == 0).all() and (found.transpose(1, 2)[real] > 0).any()


def test_every_layer_of_a_recording_can_be_asked(cross):
    """The graph stays after the first question."""
    x, context = draw()
    with record_attention(cross, graph=True) as maps:
        score = rated(cross(cross(x, context), context))
    first, second = maps[""]
    again = [grad_cam(weights, score) for weights in (second, first, second)]
    torch.testing.assert_close(again[0], again[2])
    assert not torch.allclose(again[0], again[1])


def test_the_same_maps_with_and_without_a_graph(cross):
    x, context = draw()
    with record_attention(cross) as plain:
        out = cross(x, context)
    with record_attention(cross, graph=True) as live:
        torch.testing.assert_close(cross(x, context), out)
    torch.testing.assert_close(plain[""][0], live[""][0].detach())
    assert live[""][0].requires_grad and not plain[""][0].requires_grad


def test_maps_without_a_graph_are_refused(cross):
    with record_attention(cross) as maps:
        score = rated(cross(*draw()))
    with pytest.raises(ValueError, match=r"does not depend on these weights.*record_attention\(model, graph=True\)"):
        grad_cam(maps[""][0], score)
