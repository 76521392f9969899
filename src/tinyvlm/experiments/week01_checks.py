"""Checks of week 1's exercises. Each takes the learner's function and returns a verdict; none raises."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from tinyvlm.experiments.exercises import Verdict, check
from tinyvlm.metrics.bleu import bleu
from tinyvlm.metrics.cider import cider_d
from tinyvlm.metrics.intervals import bootstrap_interval
from tinyvlm.metrics.vqa import vqa_score

LEAST_LEAD = 0.05  # in BLEU-4, and in CIDEr-D as a share of 10: a lead that no rounding makes
Task = tuple[Sequence[Sequence[str]], Sequence[str], Sequence[str]]


@check
def opposite_order(function: Callable[[], Task]) -> Verdict:
    """Exercise 1: CIDEr-D prefers the first system's captions, BLEU-4 the second's."""
    made = function()
    assert made is not None, "it returns nothing yet; return references, first and second."
    references, first, second = made
    assert len(references) >= 2, (
        "one picture is too few: every n-gram is in all pictures' references then, and CIDEr-D is 0; write for several."
    )
    cider = [cider_d(list(one), references).mean / 10 for one in (first, second)]
    bleu4 = [bleu(list(one), references).scores[3] for one in (first, second)]
    found = f"CIDEr-D {10 * cider[0]:.2f} against {10 * cider[1]:.2f}, BLEU-4 {bleu4[0]:.3f} against {bleu4[1]:.3f}"
    assert cider[0] - cider[1] > LEAST_LEAD, (
        f"{found}: the first system has to lead in CIDEr-D by more than {10 * LEAST_LEAD}; get its rare words right."
    )
    assert bleu4[1] - bleu4[0] > LEAST_LEAD, (
        f"{found}: the second has to lead in BLEU-4 by more than {LEAST_LEAD}; let it copy runs of four common words."
    )
    return Verdict(True, f"{found}.")


@check
def vqa_formula(function: Callable[[int, int], float]) -> Verdict:
    """Exercise 2: against the mean over all leave-one-out sets, for several numbers of people."""
    for people in (10, 5, 7):
        for matches in range(people + 1):
            given = ["cat"] * matches + [f"dog {i}" for i in range(people - matches)]
            wanted, found = vqa_score("cat", given), function(matches, people)
            assert found is not None, "it returns nothing yet; return a number."
            assert math.isclose(wanted, float(found), abs_tol=1e-9), (
                f"for {matches} of {people} people it returns {float(found):.4f}; leaving out each person in turn "
                f"gives {wanted:.4f}."
            )
    return Verdict(True, "it equals the mean over all leave-one-out sets.")


@check
def bootstrap(function: Callable[[np.ndarray, int], tuple[float, float]]) -> Verdict:
    """Exercise 3: against the course's percentile bootstrap, up to what resampling lets the bounds vary."""
    rng = np.random.default_rng(7)
    for share, images in ((0.5, 1000), (0.9, 1000), (0.3, 250)):
        hits = (rng.random(images) < share).astype(float)
        made = function(hits, 0)
        assert made is not None, "it returns nothing yet; return (low, high)."
        low, high = (float(bound) for bound in made)
        wanted = bootstrap_interval(hits, resamples=4000, seed=1)
        assert low < hits.mean() < high, (
            f"for {images} images and R@1 {hits.mean():.3f} it returns [{low:.3f}, {high:.3f}], which does not hold "
            "the mean; draw with replacement, as many images as there are, and take the means."
        )
        # The spread of the mean sets the scale; 2000 resamples place a 2.5 % bound within about a twentieth of it.
        near = 0.25 * math.sqrt(hits.var() / images)
        assert abs(low - wanted.low) < near and abs(high - wanted.high) < near, (
            f"for {images} images and R@1 {hits.mean():.3f} it returns [{low:.3f}, {high:.3f}]; the middle 95 % of "
            f"resampled means is [{wanted.low:.3f}, {wanted.high:.3f}]."
        )
        assert tuple(function(hits, 0)) == tuple(made), (
            "the same seed gives another interval; draw with default_rng(seed)."
        )
    return Verdict(True, "it is the percentile bootstrap.")
