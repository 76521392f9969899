"""Boxes are drawn where their coordinates say, and are told in words."""

import pytest
import torch

from tinyvlm.viz import boxes_on_image

PICTURE = torch.zeros(3, 12, 12, dtype=torch.uint8)


def test_boxes_lie_where_they_should_and_are_described() -> None:
    fig = boxes_on_image(PICTURE, {"true": torch.tensor([2, 3, 8, 9]), "predicted": (4.5, 3, 8, 10)}, title="The dog")
    ax = fig.axes[0]
    assert [patch.get_bbox().extents.tolist() for patch in ax.patches] == [[2, 3, 8, 9], [4.5, 3, 8, 10]]
    assert ax.get_images()[0].get_extent() == [0, 12, 12, 0]  # pixel edges at whole numbers, top row on top
    assert len({patch.get_edgecolor() for patch in ax.patches}) == 2
    assert fig.alt_text.startswith("The dog. Picture of 12 by 12 pixels")
    assert "true from (2, 3) to (8, 9); predicted from (4.5, 3) to (8, 10)" in fig.alt_text
    assert fig.png()


def test_what_is_no_box_is_refused() -> None:
    with pytest.raises(ValueError, match="no box to draw"):
        boxes_on_image(PICTURE, {})
    with pytest.raises(ValueError, match="Box 'dog' has 3 numbers: pass four"):
        boxes_on_image(PICTURE, {"dog": (1, 2, 3)})
