"""The door: what a signature says holds, slips that would give a wrong number are refused, and nothing else changes."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, jaccard_score, roc_auc_score

from tinyvlm import metrics
from tinyvlm.metrics import (
    DetectedBoxes,
    TrueBoxes,
    accuracy,
    average_precision,
    bleu,
    bootstrap_interval,
    box_average_precision,
    box_iou,
    clip_score,
    contrast_table,
    forced_choice,
    grounding_accuracy,
    mean_average_precision,
    mean_iou,
    mean_per_class_accuracy,
    pair_accuracy,
    ranks,
    recall_at_k,
    ref_clip_score,
    roc_auc,
    top_k_accuracy,
    vqa_score,
)
from tinyvlm.metrics.attention import attention_distance, grad_cam

T = torch.tensor
CLASSES, LOGITS = T([1, 0, 1]), torch.eye(3)
BOX, FOUND = TrueBoxes(torch.ones(1, 4), T([0])), DetectedBoxes(torch.ones(1, 4), T([0]), T([0.5]))
WRONG_NUMBERS = {
    "a column where a row is meant": (lambda: accuracy(CLASSES[:, None], CLASSES), "accuracy takes predicted"),
    "a column of labels": (lambda: mean_per_class_accuracy(CLASSES, CLASSES[:, None]), "takes labels as whole numbers"),
    "one answer for three labels": (lambda: accuracy(T([1]), CLASSES), "examples is 1 in predicted"),
    "one label for all": (lambda: top_k_accuracy(LOGITS, T([1])), "takes labels .* examples is 3 in scores"),
    "a square matrix of logits": (lambda: accuracy(LOGITS, LOGITS), "got float32 of shape \\[3, 3\\].*argmax"),
    "probabilities of a class": (lambda: accuracy(T([0.9, 0.1, 0.8]), CLASSES), "whole numbers .* argmax"),
    "a column of scores": (lambda: roc_auc(LOGITS[:, :1], T([1, 0, 0])), r"roc_auc takes scores .*\[3, 1\]"),
    "a column of marks": (lambda: average_precision(LOGITS[0], LOGITS[:, :1]), "average_precision takes labels"),
    "probabilities of a statement": (lambda: pair_accuracy(T([0.9, 0.1, 0.8]), T([True, False, True])), "booleans"),
    "truths that are no booleans": (lambda: pair_accuracy(T([True]), T([2])), "pair_accuracy takes true as booleans"),
    "probabilities of pixels": (lambda: mean_iou(T([[0.6, 0.9], [0.8, 0.1]]), T([[1, 1], [1, 0]]), 2), "argmax"),
    "weights where scenes are admitted": (lambda: forced_choice(T([1, 2]), T([0, 3]), T([0.5, 1.0])), "takes admitted"),
    "numbers of scenes": (lambda: forced_choice(T([1, 2]), T([0, 3]), T([0, 2])), "takes admitted as booleans"),
    "scores of other scenes": (lambda: forced_choice(T([1, 2]), T([0])), "takes changed_scores .* scenes is 2 in"),
    "references that are half there": (
        lambda: ref_clip_score(LOGITS, LOGITS, LOGITS[:, None], T([[0.5], [1.0], [1.0]])), "takes real as booleans"),
    "vectors of two widths": (lambda: clip_score(LOGITS, LOGITS[:, :2]), "width is 3 in images"),
    "one vector": (lambda: clip_score(LOGITS[0], LOGITS[0]), r"\[images, width\] and got float32 of shape \[3\]"),
    "complex scores": (lambda: recall_at_k(LOGITS.cfloat()), "real numbers .* got complex64"),
    "relevance of one query": (lambda: ranks(LOGITS, T([True, False, True])), "takes relevant"),
    "owners as scores": (lambda: recall_at_k(LOGITS, 1, T([0.0, 1.0, 2.0])), "takes image_of_caption as whole numbers"),
    "boxes with a score": (lambda: box_iou(torch.ones(2, 5), torch.ones(2, 4)), r"box_iou takes first .*\[2, 5\]"),
    "one box": (lambda: grounding_accuracy(torch.ones(4), torch.ones(4)), "grounding_accuracy takes predicted"),
    "classes of boxes that are scores": (
        lambda: box_average_precision([DetectedBoxes(torch.ones(1, 4), T([0.5]), T([0.5]))], [BOX]),
        "Picture 0: detections takes classes as whole numbers"),
    "scores by class": (
        lambda: box_average_precision([DetectedBoxes(torch.ones(1, 4), T([1]), torch.ones(1, 3))], [BOX]),
        r"Picture 0: detections takes scores .* of shape \[any\] and got float32 of shape \[1, 3\]"),
    "crowds that are numbers": (
        lambda: box_average_precision([FOUND, FOUND], [BOX, TrueBoxes(torch.ones(1, 4), T([0]), T([2]))]),
        "Picture 1: truth takes crowd as booleans"),
    "k that is no number": (lambda: recall_at_k(LOGITS, "1"), "takes k as a whole number and got '1'"),
    "k that is a switch": (lambda: top_k_accuracy(LOGITS, CLASSES, k=True), "takes k as a whole number and got True"),
    "half a k": (lambda: top_k_accuracy(LOGITS, CLASSES, 1.5), "takes k as a whole number and got 1.5"),
    "a grid without patches": (lambda: attention_distance(torch.ones(1, 1, 4, 4), 0, 4), "side=0, patch=4"),
    "one map for two scores": (
        lambda: grad_cam(torch.ones(1, 1, 2, 2, requires_grad=True), torch.ones(2)), "grad_cam takes score"),
    "no caption": (lambda: bleu([None], [["a dog"]]), r"bleu takes hypotheses\[0\] as a string and got None"),
    "no reference": (lambda: bleu(["a dog"], [["a dog", 3]]), r"takes references\[0\]\[1\] as a string and got 3"),
    "no answer": (lambda: vqa_score(None, ["yes", "no"]), "vqa_score takes answer as a string and got None"),
    "captions by picture": (lambda: bleu({"a": "a dog"}, [["a dog"]]), "takes hypotheses as a list of texts"),
    "captions as bytes": (lambda: bleu([b"a dog"], [["a dog"]]), r"takes hypotheses\[0\] as a string"),
    "a set of references": (lambda: bleu(["a dog"], [{"a dog"}]), r"takes references\[0\] as a list of texts"),
    "words": (lambda: accuracy(["cat"], ["cat"]), "a list that is no array of numbers"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "message"), WRONG_NUMBERS.values(), ids=WRONG_NUMBERS.keys())
def test_what_would_give_a_wrong_number_gets_one_sentence(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_zeros_and_ones_are_the_booleans_they_stand_for() -> None:
    result = forced_choice(T([1, 2, 3, 4, 5]), T([0, 9, 0, 0, 9]), T([1, 0, 1, 1, 0]))
    assert (result.value, result.n) == (1.0, 3)
    assert pair_accuracy(T([1, 0, 1]), T([1, 0, 0])).accuracy == pytest.approx(2 / 3)
    assert ranks(LOGITS, LOGITS.long()).tolist() == [1, 1, 1]
    table = contrast_table({"m": T([1.0, 0.0])}, {"m": {"object": T([0.0, 1.0])}}, {"object": T([1, 0])})
    assert table["m", "object"] == (1.0, 1)
    with pytest.raises(ValueError, match="m, object: forced_choice takes admitted"):
        contrast_table({"m": T([1.0, 0.0])}, {"m": {"object": T([0.0, 1.0])}}, {"object": T([1, 0, 1])})


WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)


@pytest.mark.parametrize("dtype", WHOLE)
def test_every_whole_dtype_gives_the_libraries_numbers(dtype: torch.dtype) -> None:
    predicted, labels = T([1, 0, 1, 1, 0, 0]).to(dtype), T([1, 1, 1, 0, 0, 1]).to(dtype)
    share = accuracy_score(labels, predicted)
    assert accuracy(predicted, labels) == share and top_k_accuracy(torch.eye(2)[predicted.long()], labels) == share
    assert accuracy(predicted.numpy(), labels.tolist()) == share
    assert pair_accuracy(predicted, labels, labels).accuracy == share
    theirs = jaccard_score(labels.int(), predicted.int(), average="macro")
    assert mean_iou(predicted, labels, 2) == pytest.approx(theirs)
    scores = T([0.9, 0.1, 0.8, 0.7, 0.3, 0.2])
    assert roc_auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))
    owners = T([0, 1, 1, 0]).to(dtype)
    assert recall_at_k(torch.eye(2)[[0, 1, 1, 0]].T, 1, owners) == (1.0, 1.0)


def test_lists_and_arrays_are_taken_as_they_are_written() -> None:
    close = [0.1, 0.1 + 1e-12]  # equal in float32
    assert forced_choice(close[1:], close[:1]).value == 1
    assert forced_choice(np.array(close[1:]), np.array(close[:1])).value == 1
    assert clip_score([[1, 0]], [[2, 0]]).tolist() == [2.5]
    assert roc_auc(np.array([0.1, 0.9])[::-1], [1, 0]) == 1.0  # an array that runs backwards
    assert box_iou([[0, 0, 2, 1]], np.array([[0, 0, 1, 1]])).tolist() == [[0.5]]
    assert mean_average_precision([[0.9], [0.1]], [[1], [0]]) == 1.0


def test_texts_may_stand_in_any_row() -> None:
    said, meant = ["a dog runs in", "a cat"], [["a dog runs by"], ["a cat", "the cat"]]
    expected = bleu(said, meant)
    assert bleu(np.array(said), meant) == expected
    assert bleu(dict(enumerate(said)).values(), tuple(meant)) == expected
    assert vqa_score("yes", np.array(["yes"] * 10)) == 1.0


def test_nothing_is_no_boxes_and_no_examples() -> None:
    nothing = torch.tensor([])
    box = TrueBoxes(T([[0, 0, 1, 1]]), T([0]))
    assert box_iou(nothing, box.boxes).shape == (0, 1)
    assert box_average_precision([DetectedBoxes(nothing, nothing, nothing)], [box]).ap == 0
    assert box_average_precision([DetectedBoxes(nothing, nothing, nothing)], [TrueBoxes(nothing, nothing)]).ap == -1
    for call in (
        lambda: accuracy(nothing, nothing), lambda: accuracy(nothing, CLASSES), lambda: pair_accuracy(nothing, nothing),
        lambda: mean_per_class_accuracy(nothing, nothing), lambda: metrics.entailment_accuracy(nothing, nothing),
        lambda: top_k_accuracy(torch.zeros(0, 3), nothing), lambda: forced_choice(nothing, nothing),
        lambda: roc_auc(nothing, nothing), lambda: mean_iou(nothing, nothing, 2), lambda: clip_score(nothing, nothing),
        lambda: recall_at_k(torch.zeros(0, 0)), lambda: grounding_accuracy(nothing, nothing),
        lambda: bootstrap_interval(nothing), lambda: metrics.vqa_accuracy([], []), lambda: bleu([], []),
    ):  # fmt: skip
        with pytest.raises(ValueError):
            call()


DTYPES = (torch.bool, torch.uint8, torch.int16, torch.int64, torch.float16, torch.bfloat16, torch.float32,
          torch.float64, torch.complex64, torch.uint16, torch.float8_e4m3fn)  # fmt: skip


def one_picture(boxes, classes, scores, true_boxes, true_classes) -> list[float]:
    result = box_average_precision([DetectedBoxes(boxes, classes, scores)], [TrueBoxes(true_boxes, true_classes)])
    return [result.ap, result.ar100]


CALLS = {
    accuracy: 2, mean_per_class_accuracy: 2, top_k_accuracy: 2, clip_score: 2, ref_clip_score: 4, forced_choice: 3,
    pair_accuracy: 3, metrics.entailment_accuracy: 2, roc_auc: 2, average_precision: 2, mean_average_precision: 2,
    ranks: 2, recall_at_k: 1, box_iou: 2, grounding_accuracy: 2, metrics.class_iou: 1, metrics.mean_class_iou: 1,
    one_picture: 5, grad_cam: 2,
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_random_tensors_give_a_result_or_one_sentence(call: Callable[..., object]) -> None:
    draw = random.Random(call.__name__)
    for _ in range(150):
        common = [draw.randint(0, 3) for _ in range(draw.randint(0, 3))]
        tensors = []
        for _ in range(CALLS[call]):
            shape = common if draw.random() < 0.7 else [draw.randint(0, 4) for _ in range(draw.randint(0, 3))]
            tensors.append(torch.randint(0, draw.choice([2, 5]), shape).to(draw.choice(DTYPES)))
        try:
            result = call(*tensors)
        except ValueError as error:
            assert "\n" not in str(error)
        else:
            assert isinstance(result, torch.Tensor) or result == result  # no NaN
