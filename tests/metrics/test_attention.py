"""Attention distance: known answers, and what it leaves out."""

import math

import pytest
import torch

from tinyvlm.metrics.attention import attention_distance, grid_distances


def test_distances_on_a_grid():
    across = 12 * 2**0.5
    wanted = [[0, 12, 12, across], [12, 0, across, 12], [12, across, 0, 12], [across, 12, 12, 0]]
    torch.testing.assert_close(grid_distances(2, 12), torch.tensor(wanted, dtype=torch.float64))


def test_looking_at_oneself_everywhere_and_at_a_neighbour():
    staying = torch.eye(9).expand(2, 3, 9, 9)
    assert attention_distance(staying, 3, 16).tolist() == [0, 0, 0]
    everywhere = torch.full((1, 1, 4, 4), 0.25)
    assert attention_distance(everywhere, 2, 10).item() == pytest.approx((2 * 10 + 10 * math.sqrt(2)) / 4)
    # Each patch of a row of 3 looks at the next in the row, the last at the one before it.
    ahead = torch.zeros(9, 9)
    for patch in range(9):
        ahead[patch, patch + 1 if patch % 3 < 2 else patch - 1] = 1
    assert attention_distance(ahead[None, None], 3, 7).item() == pytest.approx(7)


def test_heads_are_kept_apart_and_pictures_are_averaged():
    weights = torch.stack([torch.eye(4), torch.full((4, 4), 0.25)])  # two heads of one picture
    both = torch.stack([weights, weights.flip(0)])
    uniform = attention_distance(weights[None], 2, 10)[1].item()
    assert attention_distance(weights[None], 2, 10).tolist() == pytest.approx([0, uniform])
    assert attention_distance(both, 2, 10).tolist() == pytest.approx([uniform / 2] * 2)


def test_the_class_token_is_left_out():
    inner = torch.rand(2, 3, 9, 9).softmax(-1)
    outer = torch.rand(2, 3, 10, 10)
    outer[..., 1:, 1:] = inner * 0.3
    torch.testing.assert_close(attention_distance(outer, 3, 5), attention_distance(inner, 3, 5))


def test_a_row_that_looks_at_the_class_token_alone_does_not_count():
    weights = torch.zeros(1, 1, 5, 5)
    weights[..., 0] = 1  # everybody at the class token
    assert attention_distance(weights, 2, 10).item() == 0
    weights[0, 0, 1] = torch.tensor([0, 0, 1, 0, 0])
    assert attention_distance(weights, 2, 10).item() == pytest.approx(10)


def test_too_few_tokens_for_the_grid():
    with pytest.raises(ValueError, match="fewer tokens than the 9 patches of a grid of side 3"):
        attention_distance(torch.ones(1, 1, 5, 5), 3, 4)
