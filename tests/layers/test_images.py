"""Patches, position tables and poolers."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tinyvlm.layers import PatchEmbedding, Positions, pool, resize_grid


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("channels", "patch", "height", "width"), [(3, 4, 8, 8), (1, 3, 6, 12), (4, 2, 8, 4), (2, 1, 2, 3)]
)
def test_patches_are_a_convolution_read_row_by_row(channels, patch, height, width, bias):
    layer = PatchEmbedding(patch, 5, channels, bias=bias)
    if bias:
        torch.nn.init.normal_(layer.bias)
    image = torch.randn(2, channels, height, width)
    # Cut into squares row by row, each multiplied by the flattened kernel.
    squares = F.unfold(image, patch, stride=patch).transpose(1, 2)
    expected = F.linear(squares, layer.weight.flatten(1), layer.bias)
    torch.testing.assert_close(layer(image), expected, rtol=1e-5, atol=1e-5)
    assert (layer.bias is not None) == bias


def test_patch_weights_start_at_the_scale_of_their_inputs():
    layer = PatchEmbedding(8, 256, 3)
    assert torch.isfinite(layer.weight).all() and (layer.bias == 0).all()
    assert layer.weight.std().item() == pytest.approx((3 * 64) ** -0.5, rel=0.05)


def test_positions_are_added_from_the_start_on():
    layer, x = Positions(6, 4, std=0.5), torch.randn(2, 3, 4)
    torch.testing.assert_close(layer(x), x + layer.weight[:3])
    torch.testing.assert_close(layer(x, start=3), x + layer.weight[3:])
    assert torch.isfinite(layer.weight).all()
    assert Positions(200, 50, std=0.3).weight.std().item() == pytest.approx(0.3, rel=0.05)


def test_every_row_may_start_at_a_position_of_its_own():
    layer, x, start = Positions(6, 4, std=0.5), torch.randn(3, 2, 4), torch.tensor([4, 0, 1])
    expected = torch.stack([x[row] + layer.weight[first : first + 2] for row, first in enumerate(start.tolist())])
    torch.testing.assert_close(layer(x, start), expected)


@pytest.mark.parametrize(
    ("tokens", "start", "asked"),
    [(7, 0, 7), (3, 4, 7), (1, 6, 7), (3, torch.tensor([4]), 7), (1, torch.tensor([8]), 9)],
)
def test_positions_beyond_the_table_name_both_numbers(tokens, start, asked):
    with pytest.raises(ValueError, match=f"{asked} positions asked, the table holds 6"):
        Positions(6, 4)(torch.zeros(1, tokens, 4), start)


@pytest.mark.parametrize("extra", [0, 1, 2])
def test_a_constant_table_stays_constant_at_every_size(extra):
    table = torch.cat([torch.randn(extra, 3), torch.full((16, 3), 2.5)])
    for side in (2, 3, 4, 7):
        resized = resize_grid(table, side, extra)
        assert resized.shape == (extra + side * side, 3)
        torch.testing.assert_close(resized[extra:], torch.full((side * side, 3), 2.5))
        assert torch.equal(resized[:extra], table[:extra])


def test_resizing_to_the_same_side_is_the_identity():
    table = torch.randn(10, 4)
    assert torch.equal(resize_grid(table, 3), table)


def test_resizing_keeps_rows_and_columns_apart():
    y, x = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    table = torch.stack([y.flatten(), x.flatten()], 1)
    grid = resize_grid(table, 8, extra=0).reshape(8, 8, 2)
    torch.testing.assert_close(grid[..., 0], grid[:, :1, 0].expand(8, 8))
    torch.testing.assert_close(grid[..., 1], grid[:1, :, 1].expand(8, 8))
    assert (grid[1:, 0, 0] > grid[:-1, 0, 0]).all() and (grid[0, 1:, 1] > grid[0, :-1, 1]).all()
    # Half-pixel centres: the two new rows inside an old one lie around its middle.
    torch.testing.assert_close(grid[2:4, 0, 0].mean(), torch.tensor(1.0), rtol=0, atol=0.03)
    torch.testing.assert_close(grid[3:5, 0, 0].mean(), torch.tensor(1.5))


def test_resizing_keeps_the_dtype_and_refuses_what_is_no_square():
    assert resize_grid(torch.randn(5, 2).half(), 4).dtype == torch.float16
    with pytest.raises(ValueError, match="15 positions form no square"):
        resize_grid(torch.zeros(16, 2), 5, extra=1)


@given(st.integers(1, 3), st.integers(1, 5), st.integers(0, 10_000), st.booleans())
def test_pooling_against_loops(batch, length, seed, masked):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(batch, length, 2, generator=generator)
    mask = None
    if masked:
        mask = torch.rand(batch, length, generator=generator) < 0.5
        mask[:, int(torch.randint(length, (), generator=generator))] = True  # padding in front, behind or between
    for b in range(batch):
        real = [i for i in range(length) if mask is None or mask[b, i]]
        torch.testing.assert_close(pool(tokens, "last", mask)[b], tokens[b, real[-1]])
        torch.testing.assert_close(pool(tokens, "mean", mask)[b], sum(tokens[b, i] for i in real) / len(real))
        torch.testing.assert_close(pool(tokens, "first", mask)[b], tokens[b, 0])


def test_the_last_token_under_padding_in_front_and_behind():
    tokens = torch.arange(4.0).reshape(1, 4, 1)
    assert pool(tokens, "last", torch.tensor([[False, False, True, True]])).item() == 3
    assert pool(tokens, "last", torch.tensor([[True, True, False, False]])).item() == 1
    assert pool(tokens, "mean", torch.tensor([[False, True, True, False]])).item() == 1.5


def test_the_mean_of_nothing_is_finite_and_unknown_poolings_are_refused():
    assert (pool(torch.randn(1, 3, 2), "mean", torch.zeros(1, 3, dtype=torch.bool)) == 0).all()
    with pytest.raises(ValueError, match="unknown pooling 'max'; choose from first, last, mean"):
        pool(torch.randn(1, 3, 2), "max")
