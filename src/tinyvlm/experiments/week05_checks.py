"""Checks of week 5's exercises. Each takes the learner's function and returns a verdict; none raises."""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from tinyvlm.experiments.exercises import Verdict, check
from tinyvlm.experiments.pretrain import name_sprites
from tinyvlm.experiments.worlds import FEW
from tinyvlm.models.albef import ALBEF

# Exercise 3's lesson is short enough for seconds, and a tenth of a good rate does not reach its goal.
NOUNS, UPDATES, PAIRS, GOAL = 16, 60, 32, 0.5


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
def ceiling(function: Callable[[Tensor, int], float]) -> Verdict:
    """Exercise 2: against sorting row by row, and where the answer is plain."""
    for seed, queries in ((0, 6), (1, 17)):
        scores = torch.randn(queries, queries, generator=torch.Generator().manual_seed(seed))
        for k in (1, 2, queries // 2, queries):
            found = function(scores.clone(), k)
            assert found is not None, "it returns nothing yet; return a share, a number between 0 and 1."
            kept = [query in sorted(range(queries), key=lambda j: -row[j])[:k] for query, row in enumerate(scores)]
            wanted = sum(kept) / queries
            assert abs(float(found) - wanted) < 1e-6, (
                f"with {queries} queries and k = {k} it returns {float(found):.3f} instead of {wanted:.3f}; a row is a "
                "query, and its own candidate stands on the diagonal."
            )
    return Verdict(True, "a re-ranker can reach this recall@1 and no higher one.")


@check
def lesson(function: Callable[[], float]) -> Verdict:
    """Exercise 3: a run at the learner's rate, and what it reached."""
    rate = function()
    assert rate is not None, "it returns nothing yet; return a learning rate."
    assert isinstance(rate, float) and 0 < rate < 1, f"it returns {rate!r}; return a float between 0 and 1."
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, spec = ALBEF.named("micro"), replace(FEW, nouns=NOUNS)
        width, size = model.config.vision.width, model.config.vision.image_size
        named = name_sprites(
            model.vision, width, spec, seed=0, size=size, steps=UPDATES, batch=PAIRS, lr=rate, measured=256
        )
    reached = f"after {UPDATES} updates at {rate:g} the encoder names {named:.2f} of the unseen objects"
    assert named >= GOAL, f"{reached}; chance is {1 / NOUNS:.2f}, and the goal is {GOAL:g}."
    return Verdict(True, f"{reached}.")
