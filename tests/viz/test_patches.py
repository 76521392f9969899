"""Figures about places: what their words say, and what they refuse."""

import pytest
import torch

from tinyvlm.viz import attention_distances, position_similarity


def test_position_similarity_tells_neighbours_from_the_rest():
    place = torch.arange(16)
    lines = torch.cat([torch.nn.functional.one_hot(place // 4), torch.nn.functional.one_hot(place % 4)], 1).float()
    figure = position_similarity(lines)
    # Same row or column: cosine 1/2; everything else 0. Of 84 neighbouring pairs 48 share a line.
    assert "same row or column 0.50" in figure.alt_text and "all other places 0.00" in figure.alt_text
    assert f"eight neighbours {0.5 * 48 / 84:.2f}" in figure.alt_text
    assert figure.png()[:4] == b"\x89PNG"
    sheet = figure.axes[0].images[0].get_array()
    assert sheet.shape == (19, 19) and sheet[0, 0] == pytest.approx(1) and sheet[6, 6] == pytest.approx(1)
    assert sheet[0, 1] == pytest.approx(0.5) and sheet[5, 7] == pytest.approx(0)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (torch.zeros(17, 3), "no square grid of positions.*without the class token"),
        (torch.zeros(1, 3), "no square grid"),
        (torch.zeros(16), "no square grid"),
        (torch.full((4, 3), torch.nan), "NaN or infinity"),
    ],
)
def test_position_tables_that_cannot_be_drawn(table, message):
    with pytest.raises(ValueError, match=message):
        position_similarity(table)


def test_attention_distances_are_dots_by_layer():
    figure = attention_distances(torch.tensor([[1.0, 5.0], [6.0, 7.0]]), uniform=6.5)
    assert "2 heads in 2 layers. layer 1: 1.0 to 5.0; layer 2: 6.0 to 7.0" in figure.alt_text
    assert "the same everywhere has 6.5" in figure.alt_text
    axes = figure.axes[0]
    assert [dots.get_offsets().tolist() for dots in axes.collections] == [[[1, 1], [2, 6]], [[1, 5], [2, 7]]]
    assert axes.lines[0].get_ydata().tolist() == [3, 6.5] and figure.png()[:4] == b"\x89PNG"
    deep = attention_distances(torch.rand(12, 2)).alt_text
    assert "layer 1:" in deep and "layer 6:" in deep and "layer 12:" in deep and "layer 2:" not in deep


@pytest.mark.parametrize(
    "values", [torch.zeros(3), torch.zeros(0, 2), torch.tensor([[-1.0]]), torch.tensor([[torch.inf]])]
)
def test_distances_that_cannot_be_drawn(values):
    with pytest.raises(ValueError, match=r"pass \[layers, heads\]|not negative"):
        attention_distances(values)
