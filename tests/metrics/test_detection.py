"""COCO box AP against pycocotools on random scenes, and against answers worked out by hand."""

import contextlib
import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tinyvlm.metrics import BoxAP, DetectedBoxes, TrueBoxes, box_average_precision
from tinyvlm.metrics.detection import LARGE, MEDIUM, SMALL

Scene = tuple[DetectedBoxes, TrueBoxes]


def scene(seed: int, most: int, classes: int, room: int, shake: int) -> Scene:
    """True boxes, detections that are true boxes moved a little, and others anywhere. Coordinates are quarters, so that
    width = right - left and right = left + width are exact; scores are few, so that ties are common."""
    draw = np.random.default_rng(seed)

    def boxes(n: int) -> np.ndarray:
        corner = draw.integers(0, room, (n, 2))
        return np.concatenate([corner, corner + draw.integers(1, room, (n, 2))], axis=1)

    true = boxes(int(draw.integers(0, most)))
    near = np.repeat(true, draw.integers(0, 3, len(true)), axis=0)
    near = near + draw.integers(-shake, shake + 1, near.shape)
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
    found = np.concatenate([near, boxes(int(draw.integers(0, most)))])
    return (
        DetectedBoxes(
            torch.from_numpy(found) / 4,
            torch.from_numpy(draw.integers(0, classes, len(found))),
            torch.from_numpy(draw.integers(0, 12, len(found)) / 16),
        ),
        TrueBoxes(
            torch.from_numpy(true) / 4,
            torch.from_numpy(draw.integers(0, classes - 1, len(true))),  # the last class is never shown
            torch.from_numpy(draw.random(len(true)) < 0.15),
        ),
    )


def wide(boxes: torch.Tensor) -> list[list[float]]:
    return [[left, top, right - left, bottom - top] for left, top, right, bottom in boxes.double().tolist()]


def pycocotools(scenes: list[Scene], area: tuple[float, float] | None = None) -> BoxAP:
    """The same numbers from COCOeval."""
    classes = sorted({int(c) for d, t in scenes for c in (*d.classes, *t.classes)})
    annotations, results = [], []
    for image, (found, true) in enumerate(scenes):
        crowd = torch.zeros(len(true.boxes)) if true.crowd is None else true.crowd
        for box, category, many in zip(wide(true.boxes), true.classes.tolist(), crowd.tolist(), strict=True):
            common = {"image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3]}
            annotations.append({**common, "id": len(annotations) + 1, "iscrowd": int(many)})
        for box, category, score in zip(wide(found.boxes), found.classes.tolist(), found.scores.tolist(), strict=True):
            results.append({"image_id": image, "category_id": category, "bbox": box, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(len(scenes))],
            "categories": [{"id": category} for category in classes],
            "annotations": annotations,
        }
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(results) if results else COCO(), "bbox")
        if area is not None:
            judge.params.areaRng = [list(area)]
            judge.params.areaRngLbl = ["all"]
        judge.evaluate()
        judge.accumulate()
    precision, recall = judge.eval["precision"][:, :, :, 0], judge.eval["recall"][:, :, 0]

    def mean(values: np.ndarray) -> float:
        return float(values[values > -1].mean()) if (values > -1).any() else -1.0

    return BoxAP(
        mean(precision[..., 2]),
        mean(precision[0, ..., 2]),
        mean(precision[5, ..., 2]),
        *(mean(recall[..., m]) for m in range(3)),
        {category: mean(precision[:, :, k, 2]) for k, category in enumerate(classes)},
    )


def close(ours: BoxAP, theirs: BoxAP) -> None:
    assert ours.per_class == pytest.approx(theirs.per_class, abs=1e-12)
    for name in ("ap", "ap50", "ap75", "ar1", "ar10", "ar100"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), abs=1e-12), name


def test_known_answer() -> None:
    truth = TrueBoxes(torch.tensor([[0, 0, 10, 10], [20, 20, 32, 30]]), torch.tensor([1, 1]))
    found = DetectedBoxes(
        torch.tensor([[0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60]]),
        torch.tensor([1, 1, 1]),
        torch.tensor([0.9, 0.8, 0.7]),
    )
    result = box_average_precision([found], [truth])
    assert result.ap == pytest.approx(0.851485, abs=1e-6)
    assert (result.ap50, result.ap75) == (1, 1)
    assert result.ar100 == pytest.approx(0.85)
    assert result.ar1 == 0.5


@pytest.mark.parametrize("seed", range(12))
def test_equals_pycocotools(seed: int) -> None:
    scenes = [scene(100 * seed + i, most=9, classes=4, room=120, shake=1 + 2 * (seed % 4)) for i in range(1 + seed)]
    ours = box_average_precision(*zip(*scenes, strict=True))
    close(ours, pycocotools(scenes))
    if seed == 11:  # the scenes are no trivial ones
        assert 0.02 < ours.ap < 0.9 and ours.ap50 > ours.ap75 and ours.ar1 < ours.ar100


@pytest.mark.parametrize("area", [SMALL, MEDIUM, LARGE])
def test_areas_equal_pycocotools(area: tuple[float, float]) -> None:
    scenes = [scene(i, most=12, classes=3, room=500, shake=8) for i in range(8)]
    ours = box_average_precision(*zip(*scenes, strict=True), area=area)
    close(ours, pycocotools(scenes, area))
    assert ours != box_average_precision(*zip(*scenes, strict=True))


def test_more_than_100_detections_equal_pycocotools() -> None:
    scenes = [scene(i, most=400, classes=2, room=200, shake=3) for i in range(2)]
    assert max(int((d.classes == 0).sum()) for d, _ in scenes) > 100
    close(box_average_precision(*zip(*scenes, strict=True)), pycocotools(scenes))


def one(boxes: list[list[float]], scores: list[float] | None = None, crowd: list[bool] | None = None):
    """One picture's boxes of class 0: detections if they have scores."""
    corners, classes = torch.tensor(boxes).view(-1, 4), torch.zeros(len(boxes), dtype=torch.long)
    if scores is not None:
        return DetectedBoxes(corners, classes, torch.tensor(scores))
    return TrueBoxes(corners, classes, None if crowd is None else torch.tensor(crowd))


def test_a_second_box_on_the_same_thing_is_wrong() -> None:
    box, nothing = [0.0, 0.0, 10.0, 10.0], [50.0, 0.0, 60.0, 10.0]
    twice = one([box, box], [0.9, 0.8])
    assert box_average_precision([twice], [one([box, nothing])]).ap == pytest.approx(51 / 101)
    # Recall 1 is reached after two of three: precision there is 2/3, and up to recall 1/2 it is 1.
    both = one([box, box, nothing], [0.9, 0.8, 0.7])
    assert box_average_precision([both], [one([box, nothing])]).ap == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_of_two_true_boxes_that_fit_equally_the_later_is_taken() -> None:
    """The first detection overlaps both equally; the second fits only the later one, and finds it taken."""
    true = one([[0.0, 0.0, 10.0, 1.0], [4.0, 0.0, 14.0, 1.0]])
    found = one([[2.0, 0.0, 12.0, 1.0], [5.0, 0.0, 15.0, 1.0]], [0.9, 0.8])
    assert box_average_precision([found], [true]).ap50 == pytest.approx(51 / 101)
    close(box_average_precision([found], [true]), pycocotools([(found, true)]))


def test_what_lies_in_a_crowd_is_neither_right_nor_wrong() -> None:
    box, crowd, inside = [0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 90.0, 90.0], [30.0, 30.0, 35.0, 35.0]
    found = one([inside, inside, box], [0.9, 0.8, 0.7])
    assert box_average_precision([found], [one([box, crowd], crowd=[False, True])]).ap == 1
    assert box_average_precision([found], [one([box])]).ap == pytest.approx(1 / 3)


def test_classes_without_true_boxes_are_minus_one_and_left_out() -> None:
    box = torch.tensor([[0, 0, 10, 10]])
    found = DetectedBoxes(box.repeat(2, 1), torch.tensor([0, 5]), torch.tensor([0.9, 0.8]))
    result = box_average_precision([found], [TrueBoxes(box, torch.tensor([0]))])
    assert result.per_class == {0: 1.0, 5: -1.0} and result.ap == 1
    nothing_shown = box_average_precision([found], [TrueBoxes(box[:0], torch.tensor([], dtype=torch.long))])
    assert nothing_shown == BoxAP(*[-1.0] * 6, {0: -1.0, 5: -1.0})
    nothing_found = box_average_precision([one([], [])], [one([[0.0, 0.0, 1.0, 1.0]])])
    assert nothing_found == BoxAP(*[0.0] * 6, {0: 0.0})


@given(st.integers(0, 10_000))
def test_range_order_of_pictures_and_of_boxes(seed: int) -> None:
    scenes = []
    for found, true in (scene(seed + i, most=5, classes=3, room=40, shake=2) for i in range(3)):
        distinct = torch.randperm(1000)[: len(found.boxes)] / 1000  # without ties the order of input has no say
        scenes.append((DetectedBoxes(found.boxes, found.classes, distinct.double() + len(scenes) * 1e-6), true))
    result = box_average_precision(*zip(*scenes, strict=True))
    values = [result.ap, result.ap50, result.ap75, result.ar1, result.ar10, result.ar100]
    assert all(value == -1 or 0 <= value <= 1 for value in values)
    assert result.ar1 <= result.ar10 <= result.ar100 and result.ap50 >= result.ap
    shuffled = []
    for found, true in scenes[::-1]:
        order = torch.randperm(len(found.boxes))
        shuffled.append((DetectedBoxes(found.boxes[order], found.classes[order], found.scores[order]), true))
    assert box_average_precision(*zip(*shuffled, strict=True)) == result


def test_a_detector_that_finds_everything_scores_1() -> None:
    truth = [TrueBoxes(t.boxes, t.classes) for _, t in (scene(i, 6, 3, 60, 1) for i in range(5))]
    found = [DetectedBoxes(t.boxes, t.classes, torch.full((len(t.boxes),), 0.5)) for t in truth]
    result = box_average_precision(found, truth)
    assert (result.ap, result.ar100) == (1, 1)


def test_bad_input_gets_one_sentence() -> None:
    box, found, true = [0.0, 0.0, 1.0, 1.0], one([[0.0, 0.0, 1.0, 1.0]], [0.5]), one([[0.0, 0.0, 1.0, 1.0]])
    with pytest.raises(ValueError, match="1 and 2 pictures"):
        box_average_precision([found], [true, true])
    with pytest.raises(ValueError, match="0 and 0 pictures"):
        box_average_precision([], [])
    with pytest.raises(ValueError, match=r"area=\(2.0, 1.0\) is empty"):
        box_average_precision([found], [true], area=(2.0, 1.0))
    with pytest.raises(ValueError, match="Picture 0: scores hold NaN"):
        box_average_precision([one([box], [torch.nan])], [true])
    with pytest.raises(ValueError, match="Picture 0: Box 0 in the truth"):
        box_average_precision([found], [one([[1.0, 0.0, 0.0, 1.0]])])
    short = DetectedBoxes(found.boxes, found.classes, torch.tensor([0.5, 0.4]))
    with pytest.raises(ValueError, match="Picture 0: detected boxes, classes and scores are of different numbers"):
        box_average_precision([short], [true])
    with pytest.raises(ValueError, match="Picture 0: true boxes, classes and crowd are of different numbers"):
        box_average_precision([found], [TrueBoxes(true.boxes, torch.tensor([0, 0]))])
