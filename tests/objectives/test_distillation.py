"""Soft targets and contrast against a teacher, against loops in plain Python."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tinyvlm.objectives import info_nce, momentum_contrast, soft_targets


def unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape, dtype=torch.double), dim=-1)


def softmax(row: list[float]) -> list[float]:
    top = max(row)
    total = sum(math.exp(x - top) for x in row)
    return [math.exp(x - top) / total for x in row]


def slow_targets(teacher: list[float], target: int, alpha: float) -> list[float]:
    return [alpha * share + (1 - alpha) * (place == target) for place, share in enumerate(softmax(teacher))]


def slow_contrast(queries, keys, scale, target, teacher_queries=None, alpha=0.0) -> list[float]:
    def logits(query: Tensor) -> list[float]:
        return [scale * sum(a * b for a, b in zip(query.tolist(), key.tolist(), strict=True)) for key in keys]

    losses = []
    for i, own in enumerate(target.tolist()):
        wanted = slow_targets(logits(queries[i] if teacher_queries is None else teacher_queries[i]), own, alpha)
        losses.append(-sum(w * math.log(p) for w, p in zip(wanted, softmax(logits(queries[i])), strict=True)))
    return losses


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_soft_targets_are_the_loop(alpha):
    teacher, target = 3 * torch.randn(4, 6).double(), torch.tensor([5, 0, 3, 3])
    expected = [slow_targets(row, place, alpha) for row, place in zip(teacher.tolist(), target.tolist(), strict=True)]
    found = soft_targets(teacher, target, alpha)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.double))
    torch.testing.assert_close(found.sum(1), torch.ones(4).double())
    torch.testing.assert_close(soft_targets(teacher, target, torch.tensor(alpha).double()), found)


def test_soft_targets_carry_no_gradient():
    teacher, alpha = torch.randn(4, 6, requires_grad=True), torch.tensor(0.4, requires_grad=True)
    assert not soft_targets(teacher, torch.zeros(4, dtype=torch.long), alpha).requires_grad


@pytest.mark.parametrize("taught", [False, True])
@pytest.mark.parametrize("scale", [1.0, 14.3])
def test_contrast_is_the_loop(taught, scale):
    queries, keys, target = unit(3, 5), unit(8, 5), torch.tensor([2, 3, 4])  # the second process's of two
    teacher, alpha = (unit(3, 5), 0.4) if taught else (None, 0.0)
    expected = torch.tensor(slow_contrast(queries, keys, scale, target, teacher, alpha), dtype=torch.double)
    found = momentum_contrast(queries, keys, scale, target, teacher, alpha)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, momentum_contrast(queries, keys, scale, target)) or not taught


def test_a_teacher_without_weight_changes_nothing_and_one_with_all_needs_no_label():
    queries, keys, teacher, target = unit(3, 5), unit(8, 5), unit(3, 5), torch.tensor([2, 3, 4])
    plain = momentum_contrast(queries, keys, 5.0, target)
    torch.testing.assert_close(momentum_contrast(queries, keys, 5.0, target, teacher, 0.0), plain)
    one, two = (momentum_contrast(queries, keys, 5.0, place, teacher, 1.0) for place in (target, target + 1))
    torch.testing.assert_close(one, two)
    assert not torch.allclose(one, plain)


@pytest.mark.parametrize("alpha", [None, 0.0, 0.4])
@pytest.mark.parametrize("candidates", [4, 65])
def test_equal_features_give_the_logarithm_of_the_candidates(alpha, candidates):
    row, target = unit(1, 6), torch.arange(4)
    teacher = None if alpha is None else row.expand(4, 6)
    loss = momentum_contrast(row.expand(4, 6), row.expand(candidates, 6), 100.0, target, teacher, alpha or 0.0)
    torch.testing.assert_close(loss, torch.full((4,), math.log(candidates), dtype=torch.double))


def test_own_features_as_keys_give_info_nce():
    image, text, target = unit(5, 6), unit(5, 6), torch.arange(5)
    both = momentum_contrast(image, text, 9.0, target) + momentum_contrast(text, image, 9.0, target)
    torch.testing.assert_close(both / 2, info_nce(image, text, 9.0))


@pytest.mark.parametrize("taught", [False, True])
def test_the_student_and_the_temperature_learn_and_keys_do_not(taught):
    queries, keys, teacher = (unit(*shape).requires_grad_() for shape in ((3, 5), (8, 5), (3, 5)))
    scale = torch.tensor(4.0, dtype=torch.double, requires_grad=True)
    target = torch.tensor([0, 1, 2])
    loss = momentum_contrast(queries, keys, scale, target, teacher if taught else None, 0.4 if taught else 0.0)
    loss.sum().backward()
    assert keys.grad is None and teacher.grad is None
    assert (queries.grad.abs().sum(1) > 0).all() and scale.grad != 0
    # The scale learns from the student's logits alone: its part in the targets is constant.
    with torch.no_grad():
        wanted = soft_targets(4.0 * teacher @ keys.T, target, 0.4 if taught else 0.0)
        cosines = queries @ keys.T
        expected = (((4.0 * cosines).softmax(-1) - wanted) * cosines).sum()
    torch.testing.assert_close(scale.grad, expected)
