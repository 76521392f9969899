"""InfoNCE against a loop in plain Python, and its known answers."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tinyvlm.objectives import info_nce


def unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape, dtype=torch.double), dim=-1)


def cross_entropy(logits: list[float], target: int) -> float:
    return math.log(sum(math.exp(logit) for logit in logits)) - logits[target]


def slow_info_nce(image, text, scale, negatives=None, admitted=None) -> list[float]:
    """Every cosine by itself, every sum written out."""

    def dot(one: Tensor, other: Tensor) -> float:
        return sum(a * b for a, b in zip(one.tolist(), other.tolist(), strict=True))

    losses = []
    for i in range(len(image)):
        image_logits = [scale * dot(image[i], candidate) for candidate in text]
        if negatives is not None:
            for n in range(negatives.shape[1]):
                if admitted is None or admitted[i, n]:
                    image_logits.append(scale * dot(image[i], negatives[i, n]))
        text_logits = [scale * dot(text[i], candidate) for candidate in image]
        losses.append((cross_entropy(image_logits, i) + cross_entropy(text_logits, i)) / 2)
    return losses


@pytest.mark.parametrize("pairs", [2, 3, 7])
@pytest.mark.parametrize("scale", [1.0, 14.3])
def test_loss_per_pair_is_the_loop(pairs, scale):
    image, text = unit(pairs, 5), unit(pairs, 5)
    expected = torch.tensor(slow_info_nce(image, text, scale), dtype=torch.double)
    torch.testing.assert_close(info_nce(image, text, scale), expected)
    torch.testing.assert_close(info_nce(text, image, scale), expected)  # symmetric


@pytest.mark.parametrize("masked", [False, True])
def test_negatives_are_offered_to_their_own_image_alone(masked):
    image, text, negatives = unit(4, 5), unit(4, 5), unit(4, 3, 5)
    admitted = torch.rand(4, 3) < 0.5 if masked else None
    if masked:
        admitted[0], admitted[1, 0] = False, True
    expected = slow_info_nce(image, text, 7.0, negatives, admitted)
    loss = info_nce(image, text, 7.0, negatives=negatives, admitted=admitted)
    torch.testing.assert_close(loss, torch.tensor(expected, dtype=torch.double))
    plain = info_nce(image, text, 7.0)
    assert (loss[1:] > plain[1:] + 1e-6).any()
    if masked:
        torch.testing.assert_close(loss[0], plain[0])


def test_negatives_that_do_not_exist_have_no_gradient():
    image, text, negatives = unit(3, 4), unit(3, 4), unit(3, 2, 4).requires_grad_()
    admitted = torch.tensor([[True, False], [False, False], [True, True]])
    info_nce(image, text, 5.0, negatives=negatives, admitted=admitted).sum().backward()
    moved = negatives.grad.abs().sum(-1) > 0
    assert torch.equal(moved, admitted) and torch.isfinite(negatives.grad).all()


@pytest.mark.parametrize("pairs", [2, 5, 64])
def test_equal_embeddings_give_the_logarithm_of_the_batch(pairs):
    row = unit(1, 6).expand(pairs, 6)
    loss = info_nce(row, row, 100.0)
    torch.testing.assert_close(loss, torch.full((pairs,), math.log(pairs), dtype=torch.double))


def test_identity_at_the_papers_first_temperature():
    rows = torch.eye(4, dtype=torch.double)
    loss = info_nce(rows, rows, 1 / 0.07)
    torch.testing.assert_close(loss, torch.full((4,), math.log1p(3 * math.exp(-1 / 0.07)), dtype=torch.double))
    assert loss.mean().item() == pytest.approx(1.8e-6, rel=0.05)


def test_a_shuffled_pairing_costs_more():
    rows = torch.eye(4, dtype=torch.double)
    assert (info_nce(rows, rows.roll(1, 0), 10.0) > 9).all()


@pytest.mark.parametrize(("right", "sign"), [(True, -1), (False, 1)])
def test_the_scale_grows_when_the_ranking_is_right_and_shrinks_when_it_is_wrong(right, sign):
    rows = torch.eye(4, dtype=torch.double)
    scale = torch.tensor(2.0, dtype=torch.double, requires_grad=True)
    info_nce(rows, rows if right else rows.roll(1, 0), scale).sum().backward()
    assert scale.grad * sign > 0.01


def test_gradients_are_those_of_finite_differences():
    image, text, negatives = unit(3, 4).requires_grad_(), unit(3, 4).requires_grad_(), unit(3, 2, 4).requires_grad_()
    scale = torch.tensor(3.0, dtype=torch.double, requires_grad=True)
    admitted = torch.tensor([[True, False], [True, True], [False, False]])

    def loss(image, text, scale, negatives):
        return info_nce(image, text, scale, negatives=negatives, admitted=admitted)

    assert torch.autograd.gradcheck(loss, (image, text, scale, negatives))


def test_own_rows_begin_where_the_gathering_says():
    image, text = unit(6, 5), unit(6, 5)
    whole = info_nce(image, text, 4.0)

    def gather(rows: Tensor) -> tuple[Tensor, int]:
        return (image if rows is part_image else text), 2

    part_image, part_text = image[2:5].clone(), text[2:5].clone()
    torch.testing.assert_close(info_nce(part_image, part_text, 4.0, gather=gather), whole[2:5])


def test_a_single_pair_teaches_nothing():
    with pytest.raises(ValueError, match="the batch holds 1 pair, and a contrastive loss needs at least 2"):
        info_nce(unit(1, 3), unit(1, 3), 1.0)
    with pytest.raises(ValueError, match="holds 1 pair"):
        info_nce(unit(1, 3), unit(1, 3), 1.0, negatives=unit(1, 2, 3))
