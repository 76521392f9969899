"""Checks of week 1's exercises. Each takes the learner's function and returns a verdict; none raises."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tinyvlm import zoo
from tinyvlm.data.captions import captions
from tinyvlm.data.tokenizer import load_tokenizer
from tinyvlm.encoders import normalise
from tinyvlm.experiments import week01
from tinyvlm.experiments.exercises import Verdict, check
from tinyvlm.metrics.bleu import bleu
from tinyvlm.metrics.cider import cider_d
from tinyvlm.metrics.clipscore import clip_score
from tinyvlm.metrics.intervals import bootstrap_interval
from tinyvlm.metrics.vqa import vqa_score

LEAST_LEAD = 0.05  # in BLEU-4, and in CIDEr-D as a share of 10: a lead that no rounding makes
JUDGE = "clip-micro"
FOOLED = 64  # scenes of two objects that the judge is asked about
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
def paired_bootstrap(function: Callable[[np.ndarray, np.ndarray, int], tuple[float, float]]) -> Verdict:
    """Exercise 3: against the course's bootstrap of the differences, up to what resampling lets the bounds vary."""
    rng = np.random.default_rng(7)
    for share, queries in ((0.5, 1000), (0.8, 1000), (0.3, 250)):
        # Most queries are easy or hard for both models.
        easy, again = rng.random(queries) < share, rng.random((2, queries)) < 0.15
        first, second = (np.where(redrawn, rng.random(queries) < share, easy).astype(float) for redrawn in again)
        made = function(first, second, 0)
        assert made is not None, "it returns nothing yet; return (low, high)."
        low, high = (float(bound) for bound in made)
        gaps = first - second
        wanted = bootstrap_interval(gaps, resamples=4000, seed=1)
        found = f"for {queries} queries and a difference of {gaps.mean():.3f} it returns [{low:.3f}, {high:.3f}]"
        assert low < gaps.mean() < high, f"{found}, which does not hold the difference; resample queries, take means."
        # The spread of the mean sets the scale; 2000 resamples place a 2.5 % bound within about a twentieth of it.
        near = 0.25 * math.sqrt(gaps.var() / queries)
        assert abs(low - wanted.low) < near and abs(high - wanted.high) < near, (
            f"{found}; the middle 95 % of resampled differences is [{wanted.low:.3f}, {wanted.high:.3f}]: draw queries "
            "with replacement, as many as there are, and keep the two hits of a query together."
        )
        assert tuple(function(first, second, 0)) == tuple(made), (
            "the same seed gives another interval; draw with default_rng(seed)."
        )
    return Verdict(True, "it is the paired percentile bootstrap.")


_THING = r"the (\S+) on (\S+) (top|bottom) (left|right)"
_FORM = re.compile(rf"we see {_THING} and {_THING} over (\S+)")


def _facts(caption: str) -> tuple[tuple[str, str], set[str], str] | None:
    """What a caption of two objects says: nouns in order, the phrases of both in no order, and the background."""
    found = _FORM.fullmatch(caption)
    if not found:
        return None
    first, second = found.groups()[:4], found.groups()[4:8]
    return (first[0], second[0]), {" ".join(first), " ".join(second)}, found[9]


@check
def misleading_caption(function: Callable[[str], str]) -> Verdict:
    """Exercise 4: false captions that the zoo's CLIP scores no lower than the true ones, in a third of 64 scenes."""
    shown = week01.world(7)
    ids = shown.unique(400)
    ids = ids[shown.scenes(ids).count == 2][:FOOLED]
    true = captions(shown.scenes(ids), phrasing=week01.REFERENCES[0])
    false = [function(caption) for caption in true]
    for caption, made in zip(true, false, strict=True):
        assert made is not None, "it returns nothing yet; return a caption."
        said, wanted = _facts(made), _facts(caption)
        assert said, f"“{made}” is no sentence of that form; write “we see the … on … and the … on … over …”."
        assert wanted and said[1:] != wanted[1:], f"“{made}” is true of the scene; change a fact."
        assert said[0] == wanted[0], f"“{made}” changes the nouns or their order; change another fact."
    assert JUDGE in zoo.names(), f"the zoo of this installation has no {JUDGE}; run the check where it has one."
    clip: Any = zoo.load(JUDGE)
    with torch.no_grad():
        images = clip.encode_image(normalise(shown.batch(ids)["image"]))
        ours, theirs = (
            clip_score(images, clip.encode_text(*load_tokenizer().encode(texts, clip.config.text.context)))
            for texts in (true, false)
        )
    reached, asked = int((theirs >= ours).sum()), math.ceil(FOOLED / 3)
    found = f"{reached} of {FOOLED} false captions reach the true caption's score"
    assert reached >= asked, (
        f"{found}, and {asked} are asked for; keep the words, change which of them belong together."
    )
    return Verdict(True, f"{found}. The mean CLIPScore is {theirs.mean():.3f} for false, {ours.mean():.3f} for true.")
