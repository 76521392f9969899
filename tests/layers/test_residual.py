"""Residuals, blocks and stacks against their formulas."""

import pytest
import torch
from torch import nn

from tinyvlm.layers import Attention, Block, FeedForward, KVCache, Mask, Residual, Stack

WIDTH = 8


def parts() -> tuple[nn.LayerNorm, nn.Linear]:
    norm = nn.LayerNorm(WIDTH)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm, nn.Linear(WIDTH, WIDTH)


def test_pre_and_post_norm_are_their_formulas():
    norm, branch = parts()
    x = torch.randn(2, 3, WIDTH)
    torch.testing.assert_close(Residual(norm, branch)(x), x + branch(norm(x)))
    torch.testing.assert_close(Residual(norm, branch, placement="post")(x), norm(x + branch(x)))


def test_a_gate_starts_as_the_identity_and_is_tanh():
    norm, branch = parts()
    residual, x = Residual(norm, branch, gate=True), torch.randn(2, 3, WIDTH)
    assert torch.equal(residual(x), x)
    residual(x).sum().backward()
    assert residual.gate.grad.abs() > 0, "the gate itself must be able to open"
    with torch.no_grad():
        residual.gate.fill_(0.7)
    torch.testing.assert_close(residual(x), x + torch.tensor(0.7).tanh() * branch(norm(x)))


@pytest.mark.parametrize("placement", ["pre", "post"])
def test_layer_scale_starts_at_its_value_and_is_per_channel(placement):
    norm, branch = parts()
    residual, x = Residual(norm, branch, scale=0.1, placement=placement), torch.randn(2, 3, WIDTH)
    expected = x + 0.1 * branch(norm(x)) if placement == "pre" else norm(x + 0.1 * branch(x))
    torch.testing.assert_close(residual(x), expected)
    assert residual.scale.shape == (WIDTH,) and residual.scale.requires_grad
    with torch.no_grad():
        residual.scale[2] = 0
    if placement == "pre":
        torch.testing.assert_close(residual(x)[..., 2], x[..., 2])


def test_no_gate_and_no_scale_unless_asked():
    residual = Residual(*parts())
    assert residual.gate is None and residual.scale is None and len(list(residual.parameters())) == 4


def test_stochastic_depth_drops_whole_samples_and_keeps_the_mean():
    norm, branch = parts()
    residual = Residual(norm, branch, drop=0.4)
    x = torch.randn(1, 2, WIDTH).expand(4000, 2, WIDTH)
    step = residual(x) - x
    full = (branch(norm(x[:1])) / 0.6)[0]
    dropped = (step == 0).flatten(1).all(1)
    torch.testing.assert_close(step[~dropped], full.expand_as(step[~dropped]), rtol=1e-4, atol=1e-5)
    assert 0.36 < dropped.float().mean() < 0.44
    torch.testing.assert_close(step.mean(0), branch(norm(x[0])), rtol=0.1, atol=0.05)


def test_stochastic_depth_and_dropout_are_off_in_evaluation():
    norm, branch = parts()
    residual, x = Residual(norm, branch, drop=0.9, dropout=0.9).eval(), torch.randn(5, 2, WIDTH)
    torch.testing.assert_close(residual(x), x + branch(norm(x)))


def test_dropout_falls_on_the_branch_and_not_on_the_stream():
    norm, branch = parts()
    residual, x = Residual(norm, branch, dropout=0.5), torch.randn(50, 4, WIDTH)
    step = residual(x) - x
    zeros = step.abs() < 1e-7
    assert 0.4 < zeros.float().mean() < 0.6
    torch.testing.assert_close(step[~zeros], 2 * branch(norm(x))[~zeros], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("drop", [1.0, -0.1])
def test_a_drop_that_is_no_probability_is_refused(drop):
    with pytest.raises(ValueError, match=rf"drop is {drop}; it is a probability in \[0, 1\)"):
        Residual(*parts(), drop=drop)


def test_a_number_as_scale_needs_a_norm_with_a_width_and_a_vector_does_not():
    branch, start, x = nn.Linear(WIDTH, WIDTH), torch.linspace(-1, 1, WIDTH), torch.randn(2, 3, WIDTH)
    with pytest.raises(ValueError, match="norm with a weight, which says the width; give a vector instead"):
        Residual(nn.Identity(), branch, scale=0.1)
    residual = Residual(nn.Identity(), branch, scale=start)
    torch.testing.assert_close(residual(x), x + start * branch(x))
    assert residual.scale.requires_grad and residual.scale.data_ptr() != start.data_ptr(), "two blocks share no scale"


class Shift(nn.Module):
    """A branch that shows what it was given."""

    def forward(self, x: torch.Tensor, by: float = 1.0) -> torch.Tensor:
        return torch.full_like(x, by)


def test_a_block_applies_its_residuals_in_order_and_hands_out_inputs_by_name():
    x = torch.zeros(1, 1, 2)
    block = Block(first=Residual(nn.Identity(), Shift()), second=Residual(nn.Identity(), nn.Linear(2, 2)))
    with torch.no_grad():
        block["second"].branch.weight.copy_(torch.eye(2) * 3)
        block["second"].branch.bias.zero_()
    # (0 + by) + 3 (0 + by): the other order would give by.
    assert block(x, first={"by": 2.0}).tolist() == [[[8.0, 8.0]]]
    assert block(x).tolist() == [[[4.0, 4.0]]]


def test_an_unknown_residual_is_named():
    block = Block(attention=Residual(*parts()), mlp=Residual(*parts()))
    with pytest.raises(ValueError, match="no residual named cross; this block has attention, mlp"):
        block(torch.randn(1, 2, WIDTH), cross={"context": None})


def decoder(depth: int) -> Stack:
    return Stack(
        Block(
            attention=Residual(nn.LayerNorm(WIDTH), Attention(WIDTH, 2)),
            cross=Residual(nn.LayerNorm(WIDTH), Attention(WIDTH, 2, context_width=5)),
            mlp=Residual(nn.LayerNorm(WIDTH), FeedForward(WIDTH, 16)),
        )
        for _ in range(depth)
    ).double()


def test_a_stack_is_its_blocks_in_order_each_with_the_same_inputs():
    stack, x, context = decoder(3), torch.randn(2, 4, WIDTH).double(), torch.randn(2, 6, 5).double()
    y = x
    for block in stack:
        y = y + block["attention"].branch(block["attention"].norm(y), mask=Mask(causal=True))
        y = y + block["cross"].branch(block["cross"].norm(y), context)
        y = y + block["mlp"].branch(block["mlp"].norm(y))
    out = stack(x, attention={"mask": Mask(causal=True)}, cross={"context": context})
    torch.testing.assert_close(out, y)


def test_every_block_of_a_stack_has_its_own_caches():
    stack, x, context = decoder(2), torch.randn(2, 4, WIDTH).double(), torch.randn(2, 6, 5).double()
    rules = {"attention": {"mask": Mask(causal=True)}, "cross": {"context": context}}
    caches = [{"attention": KVCache(4), "cross": KVCache(6, static=True)} for _ in stack]
    with torch.no_grad():
        expected = stack(x, **rules)
        parts = [stack(x[:, :1], caches, **rules), stack(x[:, 1:3], caches, **rules), stack(x[:, 3:], caches, **rules)]
    torch.testing.assert_close(torch.cat(parts, 1), expected)
    assert [(kept["attention"].length, kept["cross"].length) for kept in caches] == [(4, 6), (4, 6)]
    assert not torch.equal(caches[0]["attention"].keys, caches[1]["attention"].keys)


def test_a_block_gets_only_the_inputs_it_has():
    """Every second block looks at the picture, as in Flamingo; the mask goes to all."""
    stack, x, context = decoder(4), torch.randn(2, 4, WIDTH).double(), torch.randn(2, 6, 5).double()
    for depth in (0, 2):
        del stack[depth]["cross"]
    y, rule = x, {"mask": Mask(causal=True)}
    for depth, block in enumerate(stack):
        y = block(y, attention=rule, **({"cross": {"context": context}} if depth % 2 else {}))
    torch.testing.assert_close(stack(x, attention=rule, cross={"context": context}), y)
    with pytest.raises(ValueError, match="Stack: no block has a residual named picture; its blocks have attention,"):
        stack(x, picture={"context": context})
    assert Stack()(x, attention=rule) is x


def test_inputs_may_differ_from_block_to_block():
    stack, x, context = decoder(3), torch.randn(2, 4, WIDTH).double(), torch.randn(2, 6, 5).double()
    biases, y = torch.randn(3, 1, 2, 4, 4).double(), x
    rules = {"attention": {"mask": Mask(causal=True)}, "cross": {"context": context}}
    for block, bias in zip(stack, biases, strict=True):
        y = block(y, attention={**rules["attention"], "bias": bias}, cross=rules["cross"])
    each = [{"attention": {"bias": bias}} for bias in biases]
    torch.testing.assert_close(stack(x, each=each, **rules), y)
    assert not torch.allclose(stack(x, each=each[::-1], **rules), y)


@pytest.mark.parametrize("what", ["each", "caches"])
def test_an_input_for_each_block_is_one_per_block(what):
    with pytest.raises(ValueError, match=f"Stack: {what} has 2 entries for 3 blocks; give one per block"):
        decoder(3)(torch.randn(2, 4, WIDTH).double(), **{what: [{}, {}]})
