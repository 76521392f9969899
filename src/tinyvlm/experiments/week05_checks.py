"""Checks of week 5's exercises. Each takes the learner's function and returns a verdict; none raises."""

from collections import deque
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tinyvlm.experiments.exercises import Verdict, check


def _tensor(value: object, shape: tuple[int, ...], what: str) -> Tensor:
    assert value is not None, f"it returns nothing yet; return {what}."
    assert isinstance(value, Tensor), f"it returns a {type(value).__name__}; return {what}."
    assert tuple(value.shape) == shape, f"it returns the shape {tuple(value.shape)}; {what} has {shape}."
    return value


@check
def soft_target_gradient(function: Callable[[Tensor, Tensor], Tensor]) -> Verdict:
    """Exercise 1: against what PyTorch finds, for the soft cross-entropy and for the KL divergence."""
    for seed, rows, classes in ((0, 4, 7), (1, 1, 3)):
        generator = torch.Generator().manual_seed(seed)
        logits = (3 * torch.randn(rows, classes, generator=generator, dtype=torch.double)).requires_grad_(True)
        targets = torch.randn(rows, classes, generator=generator, dtype=torch.double).softmax(1)
        losses = {
            "cross-entropy": F.cross_entropy(logits, targets, reduction="sum"),
            "KL divergence": F.kl_div(logits.log_softmax(1), targets, reduction="sum"),
        }
        found = _tensor(function(logits.detach(), targets), (rows, classes), "the gradient, a tensor like the logits")
        for name, loss in losses.items():
            (wanted,) = torch.autograd.grad(loss, logits, retain_graph=True)
            furthest = (found - wanted).abs().max().item()
            assert torch.allclose(found.double(), wanted, atol=1e-6), (
                f"it differs from autograd's gradient of the {name} by up to {furthest:.4f}; "
                "each row's loss counts once, without a mean."
            )
    return Verdict(True, "one gradient for both losses, and autograd agrees.")


@check
def enqueue(function: Callable[[Tensor, int, Tensor], tuple[Tensor, int]]) -> Verdict:
    """Exercise 2: against Python's own queue."""
    size = 5
    features, place = torch.arange(-size, 0).float().unsqueeze(1), 0
    slow, number = deque(features.flatten().tolist(), maxlen=size), 0
    for count in (2, 2, 3, 5, 1, 8, 4):
        rows = torch.arange(number, number + count).float().unsqueeze(1)
        number += count
        slow.extend(rows.flatten().tolist())
        result = function(features.clone(), place, rows)
        assert result is not None, "it returns nothing yet; return the features and the next place."
        assert isinstance(result, tuple) and len(result) == 2, "return two things: the features and the next place."
        features, place = _tensor(result[0], (size, 1), "the queue's features"), int(result[1])
        kept = sorted(features.flatten().tolist())
        assert kept == sorted(slow), (
            f"after {count} more rows the queue of {size} holds {kept}; the last {size} are {sorted(slow)}."
        )
        assert 0 <= place < size, f"the next place is {place}; a queue of {size} has the places 0 to {size - 1}."
        oldest = features[place].item()
        assert oldest == slow[0], f"at the next place stands {oldest:g}, and the oldest is {slow[0]:g}."
    return Verdict(True, "the newest stay, the oldest is next to go, also around the corner.")


@check
def draw_negative(function: Callable[[Tensor, Tensor, float], int]) -> Verdict:
    """Exercise 3: against the running sum, in cases that a trained model brings about."""
    even = torch.zeros(4), torch.tensor([True, False, False, False])
    for u, wanted in ((0.0, 1), (0.3, 1), (0.34, 2), (0.66, 2), (0.67, 3), (0.999, 3)):
        _drawn(function, *even, u, wanted, "four equal similarities of which the first is forbidden")
    steep = torch.tensor([2.0, 1.0, 0.0]), torch.tensor([False, False, True])
    for u, wanted in ((0.72, 0), (0.74, 1)):  # e / (1 + e) is 0.731
        _drawn(function, *steep, u, wanted, "similarities 2, 1 and 0 of which the last is forbidden")
    sure = torch.tensor([-2.0, 250.0, -1.0]), torch.tensor([False, True, False])
    for u, wanted in ((0.1, 0), (0.5, 2)):  # 1 / (1 + e) is 0.269
        _drawn(function, *sure, u, wanted, "a model so sure of the true pair that nothing is left for others")
    return Verdict(True, "it draws by similarity, and never what is forbidden.")


def _drawn(
    function: Callable[[Tensor, Tensor, float], int],
    similarity: Tensor,
    forbidden: Tensor,
    u: float,
    wanted: int,
    case: str,
) -> None:
    found = function(similarity.clone(), forbidden.clone(), u)
    assert found is not None, "it returns nothing yet; return a place as an int."
    assert 0 <= int(found) < len(similarity), f"it returns {found!r}, which is no place among {len(similarity)}."
    assert not forbidden[int(found)], f"it draws place {int(found)}, which is forbidden, in the case of {case}."
    assert int(found) == wanted, f"with u = {u} it draws place {int(found)} instead of {wanted}, in the case of {case}."
