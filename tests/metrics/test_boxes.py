"""Intersection over union against pycocotools and by counting cells, and grounding at its threshold."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from tinyvlm.metrics import box_iou, grounding_accuracy

side = st.tuples(st.integers(0, 8), st.integers(0, 8)).map(sorted)
box = st.tuples(side, side).map(lambda sides: [sides[0][0], sides[1][0], sides[0][1], sides[1][1]])
boxes = st.lists(box, min_size=1, max_size=6)


def cells(corners: list[int]) -> set[tuple[int, int]]:
    left, top, right, bottom = corners
    return {(x, y) for x in range(left, right) for y in range(top, bottom)}


@given(boxes, boxes)
def test_iou_equals_counting_cells(first: list[list[int]], second: list[list[int]]) -> None:
    iou = box_iou(torch.tensor(first), torch.tensor(second))
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            together = cells(a) | cells(b)
            assert float(iou[i, j]) == pytest.approx(len(cells(a) & cells(b)) / len(together) if together else 0.0)
    assert torch.equal(iou.T, box_iou(torch.tensor(second), torch.tensor(first)))
    assert bool(((iou >= 0) & (iou <= 1)).all())


def test_iou_equals_pycocotools() -> None:
    # Quarters, so that width = right - left and right = left + width are exact.
    corners = torch.randint(0, 200, (2, 40, 2), dtype=torch.float64) / 4
    sizes = torch.randint(1, 200, (2, 40, 2), dtype=torch.float64) / 4
    first, second = (torch.cat([c, c + s], dim=1) for c, s in zip(corners, sizes, strict=True))
    wide, other = (torch.cat([c, s], dim=1).numpy() for c, s in zip(corners, sizes, strict=True))
    theirs = coco_mask.iou(wide, other, np.zeros(40, dtype=np.uint8))
    assert np.abs(box_iou(first, second).numpy() - theirs).max() <= 1e-15


def test_boxes_without_area_share_nothing() -> None:
    point = torch.tensor([[1, 1, 1, 1]])
    assert box_iou(point, point).tolist() == [[0.0]]
    assert grounding_accuracy(point, point) == 0


def test_exactly_the_threshold_is_a_hit() -> None:
    truth = torch.tensor([[0, 0, 2, 1]])
    half = torch.tensor([[0, 0, 1, 1]])
    assert float(box_iou(half, truth)) == 0.5
    assert grounding_accuracy(half, truth) == 1
    assert grounding_accuracy(half, truth, threshold=0.5001) == 0
    # Seven tenths has no exact float, and still the whole numbers meet it.
    assert grounding_accuracy(torch.tensor([[0, 0, 7, 1]]), torch.tensor([[0, 0, 10, 1]]), threshold=0.7) == 1


@given(st.lists(st.tuples(box, box), min_size=1, max_size=8), st.sampled_from([0.25, 0.5, 0.75, 1.0]), st.randoms())
def test_grounding_equals_the_diagonal_in_any_order(rows, threshold: float, random) -> None:
    random.shuffle(rows)
    predicted, truth = (torch.tensor([row[i] for row in rows]) for i in range(2))
    hits = box_iou(predicted, truth).diagonal() >= threshold
    assert grounding_accuracy(predicted, truth, threshold) == pytest.approx(float(hits.double().mean()))


@pytest.mark.parametrize(
    ("predicted", "truth", "options", "message"),
    [
        ([[0, 0, 1, 1]], [[0, 0, 1, 1], [0, 0, 1, 1]], {}, "1 predicted and 2 true boxes"),
        ([[2, 0, 1, 1]], [[0, 0, 1, 1]], {}, r"Box 0 in predicted, \[2.0, 0.0, 1.0, 1.0\], is no box"),
        ([[0, 0, 1, 1]], [[0, 0, torch.nan, 1]], {}, "Box 0 in truth, .*, is no box"),
        ([[0.0, 0.0, 1e308, 1e308]], [[0, 0, 1, 1]], {}, "Box 0 in predicted, .*, is no box: .* all within 1e.150"),
        ([[0, 0, 1, 1]], [[0, 0, 1, 1]], {"threshold": 0.0}, r"threshold=0.0 must lie in \(0, 1\]"),
    ],
)
def test_bad_boxes_get_one_sentence(predicted, truth, options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grounding_accuracy(torch.tensor(predicted, dtype=torch.float64), torch.tensor(truth), **options)


def test_the_largest_boxes_keep_their_numbers() -> None:
    far = torch.tensor([[-1e150, -1e150, 1e150, 1e150], [0.0, -1e150, 1e150, 1e150]], dtype=torch.float64)
    torch.testing.assert_close(box_iou(far, far), torch.tensor([[1.0, 0.5], [0.5, 1.0]], dtype=torch.float64))


def test_no_boxes_to_ground_get_one_sentence() -> None:
    with pytest.raises(ValueError, match="0 predicted and 0 true boxes"):
        grounding_accuracy(torch.zeros(0, 4), torch.zeros(0, 4))
    assert box_iou(torch.zeros(0, 4), torch.zeros(3, 4)).shape == (0, 3)
