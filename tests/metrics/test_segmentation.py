"""mIoU against torchmetrics, scikit-learn's confusion matrix and known answers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix as sklearn_confusion

from tinyvlm.metrics import class_iou, confusion_matrix, mean_class_iou, mean_iou

TRUTH = torch.tensor([[0, 0, 1], [1, 2, 255]])
PREDICTED = torch.tensor([[0, 1, 1], [1, 2, 0]])
pixels = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 2, 3, 255])), min_size=1, max_size=40)


def test_known_answers() -> None:
    assert class_iou(confusion_matrix(PREDICTED, TRUTH, 3)).tolist() == pytest.approx([0.5, 2 / 3, 1])
    assert mean_iou(PREDICTED, TRUTH, 3) == pytest.approx(0.7222, abs=1e-4)


def test_a_class_that_is_nowhere_is_left_out_not_0() -> None:
    iou = class_iou(confusion_matrix(PREDICTED, TRUTH, 4))
    assert bool(iou[3].isnan())
    assert mean_iou(PREDICTED, TRUTH, 4) == pytest.approx(0.7222, abs=1e-4)
    assert float(iou.nan_to_num().mean()) == pytest.approx(0.5417, abs=1e-4)  # what counting it as 0 would give


@given(pixels.filter(lambda pairs: any(true != 255 for _, true in pairs)), st.randoms())
def test_equals_sets_of_pixels_in_any_order(pairs: list[tuple[int, int]], random) -> None:
    random.shuffle(pairs)
    predicted, truth = (torch.tensor([pair[i] for pair in pairs]) for i in range(2))
    scores = []
    for c in range(4):
        counted = [(p, t) for p, t in pairs if t != 255]
        together = sum(p == c or t == c for p, t in counted)
        if together:
            scores.append(sum(p == t == c for p, t in counted) / together)
    assert mean_iou(predicted, truth, 4) == pytest.approx(sum(scores) / len(scores))
    kept = truth != 255
    theirs = sklearn_confusion(truth[kept], predicted[kept], labels=range(4))
    assert confusion_matrix(predicted, truth, 4).tolist() == theirs.tolist()


def test_equals_torchmetrics(torchmetrics) -> None:
    predicted, truth = torch.randint(0, 5, (2, 3, 8, 8))
    theirs = torchmetrics.functional.classification.multiclass_jaccard_index(predicted, truth, num_classes=5)
    assert mean_iou(predicted, truth, 5) == pytest.approx(float(theirs), abs=1e-6)
    truth[:, 0] = 255
    theirs = torchmetrics.functional.classification.multiclass_jaccard_index(
        predicted, truth, num_classes=5, ignore_index=255
    )
    assert mean_iou(predicted, truth, 5) == pytest.approx(float(theirs), abs=1e-6)


def test_pictures_are_pooled_not_averaged() -> None:
    large, small = torch.zeros(4, 4, dtype=torch.long), torch.tensor([[1]])
    total = confusion_matrix(large, large, 2) + confusion_matrix(torch.tensor([[0]]), small, 2)
    assert mean_class_iou(total) == pytest.approx((16 / 17 + 0) / 2)
    each = [mean_iou(large, large, 2), mean_iou(torch.tensor([[0]]), small, 2)]
    assert sum(each) / 2 == 0.5


def test_one_class_everywhere_wins_little() -> None:
    truth = torch.arange(16).view(4, 4) % 4
    assert mean_iou(torch.zeros_like(truth), truth, 4) == pytest.approx(0.25 / 4)


def test_bytes_do_not_overflow() -> None:
    truth = torch.arange(200, dtype=torch.uint8)
    assert mean_iou(truth, truth, 200) == 1


@pytest.mark.parametrize(
    ("predicted", "truth", "classes", "message"),
    [
        (torch.zeros(2, 2).long(), torch.zeros(2, 3).long(), 3, "resize the prediction"),
        (torch.tensor([3]), torch.tensor([0]), 3, "predicted holds 3 to 3 on pixels that count"),
        (torch.tensor([0]), torch.tensor([-1]), 3, "truth holds -1 to -1"),
        (torch.tensor([0]), torch.tensor([-1], dtype=torch.int8), 3, "truth holds -1 to -1"),  # not 255 in int8
        (torch.tensor([0]), torch.tensor([0]), 10**9, "1 to 10000"),
        (torch.tensor([0]), torch.tensor([0]), 0, "classes=0"),
        (torch.tensor([0]), torch.tensor([255]), 3, "No pixel counts"),
        (torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long), 3, "No pixel counts"),
    ],
)
def test_bad_pixels_get_one_sentence(predicted, truth, classes: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mean_iou(predicted, truth, classes)
