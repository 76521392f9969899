"""Pictures stay what they are, are put in the right order, and are described."""

import numpy as np
import pytest
import torch

from tinyvlm.viz import attention_overlay, image_grid, ranks_strip
from tinyvlm.viz.images import to_pixels


@pytest.fixture
def images(rng: torch.Generator) -> torch.Tensor:
    return torch.randint(0, 256, (5, 3, 12, 12), generator=rng, dtype=torch.uint8)


def pictures(fig: object) -> list[np.ndarray]:
    return [np.asarray(ax.get_images()[0].get_array()) for ax in fig.axes if ax.get_images()]  # type: ignore[attr-defined]


def test_grid_keeps_pixels_order_and_captions(images: torch.Tensor) -> None:
    fig = image_grid(images, [f"caption {i}" for i in range(5)], columns=3, title="Scenes")
    shown = pictures(fig)
    assert len(shown) == 5 and len(fig.axes) == 6
    for i in range(5):
        np.testing.assert_array_equal(shown[i], images[i].permute(1, 2, 0).numpy())
    assert [ax.get_xlabel() for ax in fig.axes[:5]] == [f"caption {i}" for i in range(5)]
    assert fig.alt_text.startswith("Scenes. Grid of 5 images in 2 rows of 3: 1. caption 0, 2. caption 1")


def test_grid_refuses(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="2 captions for 5 images"):
        image_grid(images, ["a", "b"])
    with pytest.raises(ValueError, match="columns=-1"):
        image_grid(images, columns=-1)


def test_ranks_are_in_order_with_scores_and_frames(images: torch.Tensor) -> None:
    fig = ranks_strip("a cat", images, torch.tensor([0.1, 0.9, 0.3, 0.7, 0.2]), correct=3, top=3)
    shown = pictures(fig)
    for place, i in enumerate([1, 3, 2]):
        np.testing.assert_array_equal(shown[place], images[i].permute(1, 2, 0).numpy())
    assert [ax.get_title() for ax in fig.axes] == ["query", "1: 0.90", "2: 0.70", "3: 0.30"]
    colours = [ax.spines["top"].get_edgecolor() for ax in fig.axes[1:]]
    assert colours[0] == colours[2] != colours[1]
    assert "“a cat”" in fig.alt_text and "1. image 1 (0.90)" in fig.alt_text
    assert fig.alt_text.endswith("The right one is at rank 2 of 5.")


def test_texts_can_be_retrieved_and_ties_count_against_the_right_one(images: torch.Tensor) -> None:
    fig = ranks_strip(images[0], ["a cat", "a dog", "a bird"], torch.tensor([0.5, 0.5, 0.1]), correct=[0])
    assert "1. “a cat” (0.50)" in fig.alt_text and "rank 2 of 3" in fig.alt_text
    named = ranks_strip("q", images[:2], torch.tensor([0.0, 1.0]), names=["cat", "dog"])
    assert "1. dog (1.00), 2. cat (0.00)" in named.alt_text and "rank" not in named.alt_text


def test_ranks_refuse(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="2 scores for 5 candidates"):
        ranks_strip("q", images, torch.zeros(2))
    with pytest.raises(ValueError, match="top=0"):
        ranks_strip("q", images, torch.zeros(5), top=0)


def test_attention_lies_over_the_picture(images: torch.Tensor) -> None:
    weights = torch.zeros(2, 12)
    weights[0, 5], weights[0, 0], weights[1, 11] = 0.6, 0.4, 1.0
    fig = attention_overlay(images[0], weights, ["cat", "dog"], grid=(3, 4))
    first = fig.axes[1].get_images()[1]
    np.testing.assert_allclose(np.asarray(first.get_array()), weights[0].view(3, 4))
    assert first.get_extent() == [0, 12, 12, 0]
    heat = first.get_alpha()
    assert heat[2, 3] == 0 and heat[1, 1] == pytest.approx(0.7) and heat[0, 0] == pytest.approx(0.7 * 0.4 / 0.6)
    below = np.asarray(fig.axes[1].get_images()[0].get_array())
    grey = images[0].permute(1, 2, 0).double().numpy() @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(below, 255 - 0.6 * (255 - grey))
    assert "3 by 4 patches" in fig.alt_text
    assert "cat peaks at row 2, column 2 with 60% of its weight" in fig.alt_text
    assert "dog peaks at row 3, column 4 with 100%" in fig.alt_text
    assert len(attention_overlay(images[0], weights[0].view(3, 4)).axes) == 2


def test_a_picture_for_each_map_stands_above_it(images: torch.Tensor) -> None:
    weights = torch.eye(9)[[2, 3, 4, 5]].view(4, 3, 3)
    fig = attention_overlay(images[:4], weights, title="Last layer")
    above, below = fig.axes[:4], fig.axes[4:]
    for i in range(4):
        pixels = images[i].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(np.asarray(above[i].get_images()[0].get_array()), pixels)
        assert np.asarray(below[i].get_images()[0].get_array()).shape == (12, 12)
        np.testing.assert_array_equal(np.asarray(below[i].get_images()[1].get_array()), weights[i].numpy())
    assert fig.alt_text.startswith("Last layer. Attention over 3 by 3 patches: map 1 peaks at row 1, column 3")
    with pytest.raises(ValueError, match="5 images for 4 attention maps"):
        attention_overlay(images, weights)


@pytest.mark.parametrize(
    ("attention", "grid", "message"),
    [
        (torch.zeros(2, 12), (3, 3), r"shape \(2, 12\) does not fit grid=\(3, 3\)"),
        (torch.zeros(12), None, "does not fit grid=None"),
        (-torch.ones(3, 4), None, "not negative"),
        (torch.full((3, 4), torch.nan), None, "must be finite"),
    ],
)
def test_attention_refuses(images: torch.Tensor, attention: torch.Tensor, grid: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attention_overlay(images[0], attention, grid=grid)


def test_attention_refuses_missing_labels(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="1 labels for 2 attention maps"):
        attention_overlay(images[0], torch.zeros(2, 3, 3), ["one"])


def test_pixels_of_floats_and_what_is_refused() -> None:
    assert to_pixels(torch.full((1, 3, 2, 2), 0.5))[0, 0, 0].tolist() == [128, 128, 128]
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]; these reach -1.00 to 2.00"):
        to_pixels(torch.tensor([-1.0, 2.0, 0.0]).view(1, 3, 1, 1))
    with pytest.raises(ValueError, match="dtype torch"):
        to_pixels(torch.zeros(1, 3, 2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"shape \(3, 2, 2\)"):
        to_pixels(torch.zeros(3, 2, 2))
