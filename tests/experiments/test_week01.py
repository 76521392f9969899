"""Week 1: the systems say what their names promise, known answers hold, and what the prose says is so."""

import math
import re
from collections import Counter

import numpy as np
import pytest
import torch

from tinyvlm.data.captions import captions
from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.scenes import Scenes, content
from tinyvlm.experiments import week01, week01_checks
from tinyvlm.experiments.exercises import Verdict
from tinyvlm.metrics.bleu import bleu
from tinyvlm.metrics.classification import accuracy, mean_per_class_accuracy
from tinyvlm.metrics.text import caption_words, ngrams

NOUNS = set(load_emoji().names("en"))


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    world = week01.world(3)
    return world.scenes(world.unique(200))


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, float]]:
    """Every arm on 400 scenes of a seed that no claim uses."""
    return {name: week01.evaluate(arm, 11, week01.Budget(scenes=400)) for name, arm in week01.ARMS.items()}


def test_the_claim_holds_on_other_scenes_and_fails_for_swapped_arms(found) -> None:
    (claim,) = week01.CLAIMS
    first, second = claim.arms
    assert claim.difference(found) > claim.margin
    assert claim.difference({first: found[second], second: found[first]}) < claim.margin


def test_the_claim_fails_when_one_noun_in_five_is_right(scenes) -> None:
    """What makes it a claim: a copying system a little better turns it round."""
    (claim,) = week01.CLAIMS
    truth = week01.references(scenes)
    better = week01.caption_scores(week01.copied(scenes, wrong=0.8), truth)
    facts = week01.caption_scores(week01.rephrased(scenes), truth)
    assert claim.difference(dict(zip(claim.arms, (facts, better), strict=True))) < claim.margin


def test_bleu_of_the_truthful_system_is_zero_by_construction(scenes) -> None:
    """No run of four words of the fourth phrasing stands in a reference, so BLEU-4 is no claim."""
    for said, truth in zip(week01.rephrased(scenes), week01.references(scenes), strict=True):
        assert not set(ngrams(said.split(), 4)) & set().union(*(ngrams(one.split(), 4) for one in truth))


def test_shuffled_words_keep_bleu1_and_lose_bleu4(scenes) -> None:
    truth = week01.references(scenes)
    order, mixed = (week01.caption_scores(said(scenes), truth) for said in (week01.in_order, week01.shuffled))
    assert mixed["BLEU-1"] == pytest.approx(order["BLEU-1"], abs=1e-12)
    assert order["BLEU-4"] == pytest.approx(1.0) and mixed["BLEU-4"] < 0.5
    assert mixed["CIDEr-D"] > 0.2 * order["CIDEr-D"]


def test_what_the_chapter_says_in_words(found, scenes) -> None:
    """ROUGE-L sides with BLEU-4; with most objects wrong the copying system leads in CIDEr-D too; one more reference
    changes the picture."""
    truthful, copying = found["right facts, another phrasing"], found["copied phrases, wrong nouns"]
    assert copying["ROUGE-L"] > truthful["ROUGE-L"] + 0.2
    mostly_wrong = week01.caption_scores(week01.copied(scenes, wrong=0.6), week01.references(scenes))
    said = week01.rephrased(scenes)
    assert mostly_wrong["CIDEr-D"] > week01.caption_scores(said, week01.references(scenes))["CIDEr-D"] + 0.5
    more = [[*of_scene, own] for of_scene, own in zip(week01.references(scenes), said, strict=True)]
    assert bleu(said, more).scores[3] == pytest.approx(1.0)


def test_the_truthful_system_says_the_facts_as_no_reference_does(scenes) -> None:
    facts = NOUNS | {"red", "blue", "green", "yellow", "cream", "azure"}
    for said, truth in zip(week01.rephrased(scenes), week01.references(scenes), strict=True):
        assert len(set(truth)) == 3 and said not in truth
        for reference in truth:
            assert Counter(w for w in said.split() if w in facts) == Counter(w for w in reference.split() if w in facts)


def test_the_copying_system_differs_in_every_noun_and_in_nothing_else(scenes) -> None:
    first = [caption_words(caption) for caption in captions(scenes, phrasing=0)]
    for said, reference, objects in zip(week01.copied(scenes), first, scenes.count, strict=True):
        pairs = [(a, b) for a, b in zip(said.split(), reference.split(), strict=True) if a != b]
        assert len(pairs) == objects and all(a in NOUNS and b in NOUNS for a, b in pairs)
        assert len({a for a, _ in pairs}) == objects
    assert week01.copied(scenes, wrong=0.0) == week01.in_order(scenes) == first


def test_the_share_of_wrong_nouns_is_as_asked(scenes) -> None:
    changed = sum(
        a != b
        for said, reference in zip(week01.copied(scenes, 0.3), week01.in_order(scenes), strict=True)
        for a, b in zip(said.split(), reference.split(), strict=True)
    )
    total = int(scenes.count.sum())
    assert abs(changed / total - 0.3) < 4 * math.sqrt(0.3 * 0.7 / total)
    with pytest.raises(ValueError, match=r"wrong=1.5 is a share of objects: choose a number from 0 to 1"):
        week01.copied(scenes, 1.5)


def test_shuffling_keeps_the_words_and_moves_them(scenes) -> None:
    order, mixed = week01.in_order(scenes), week01.shuffled(scenes)
    assert all(Counter(a.split()) == Counter(b.split()) for a, b in zip(order, mixed, strict=True))
    assert sum(a != b for a, b in zip(order, mixed, strict=True)) > 195
    assert mixed == week01.shuffled(scenes)


def test_copies_are_labelled_and_the_two_answerers_score_as_known() -> None:
    many = week01.world(0, week01.COPIES).scenes(np.arange(2000))
    labels = week01.copies(many)
    for noun, label in zip(many.noun.tolist(), labels.tolist(), strict=True):
        here = [n for n in noun if n >= 0]
        assert label == (len(here) - 1 if len(here) > 1 and len(set(here)) == 1 else 0)
    always, looks = week01.majority(labels, many.key), week01.seven_in_ten(labels, many.key)
    assert set(always.tolist()) == {0} and mean_per_class_accuracy(always, labels) == 0.25
    assert accuracy(always, labels) == pytest.approx(float((labels == 0).double().mean()))
    right = looks == labels
    for label in range(4):
        mine = right[labels == label].double()
        assert abs(float(mine.mean()) - 0.7) < 4 * math.sqrt(0.21 / len(mine))


def test_perfect_knowledge_finds_its_own_caption_as_often_as_captions_differ() -> None:
    alike = week01.world(11, week01.ALIKE).scenes(np.arange(400))
    expected = len(np.unique(content(alike))) / 400  # of k equal captions each picture finds its own with chance 1/k
    got = week01.all_knowing(alike, 11)
    assert got["R@1, any true caption"] == 1.0
    assert abs(got["R@1, its own caption"] - expected) < 4 * math.sqrt(expected / 400)
    said = captions(alike, phrasing=0)
    same = torch.tensor([[a == b for b in said] for a in said])
    assert torch.equal(week01.same_content(alike), same)


def test_the_seed_chooses_the_scenes() -> None:
    arm, budget = week01.ARMS["copied phrases, wrong nouns"], week01.BUDGETS["smoke"]
    assert week01.evaluate(arm, 0, budget) != week01.evaluate(arm, 1, budget)


REFERENCES = [[f"there is a picture of a {thing} on the table"] for thing in ("dog", "cat", "bike", "cake")]
SAME = [of_scene[0] for of_scene in REFERENCES]


def percentiles(hits: np.ndarray, seed: int, tail: float = 0.025, share: float = 1.0) -> tuple[float, float]:
    draws = np.random.default_rng(seed).integers(0, len(hits), (2000, int(share * len(hits))))
    low, high = np.quantile(hits[draws].mean(1), [tail, 1 - tail])
    return float(low), float(high)


def paired(first: np.ndarray, second: np.ndarray, seed: int, **how: float) -> tuple[float, float]:
    return percentiles(first - second, seed, **how)


def apart(first: np.ndarray, second: np.ndarray, seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    one, other = (hits[rng.integers(0, len(hits), (2000, len(hits)))].mean(1) for hits in (first, second))
    low, high = np.quantile(one - other, [0.025, 0.975])
    return float(low), float(high)


def parts_swapped(caption: str, part: int) -> str:
    """The nouns (0), plates (1) or places (2) of a caption's two objects exchanged."""
    a, b = re.findall(r"the (\S+) on (\S+) (\S+ \S+)", caption)
    a, b = ((y if i == part else x for i, (x, y) in enumerate(zip(*pair, strict=True))) for pair in ((a, b), (b, a)))
    ground = caption.split()[-1]
    return "we see the {} on {} {} and the {} on {} {} over {}".format(*a, *b, ground)


def other_ground(caption: str) -> str:
    return caption.replace("cream", "azure") if caption.endswith("cream") else caption.replace("azure", "cream")


WRONG = {
    "opposite_order": {
        "picture is too few": lambda: (REFERENCES[:1], SAME[:1], SAME[:1]),
        "has to lead in CIDEr-D": lambda: (REFERENCES, SAME, SAME),
        "has to lead in BLEU-4": lambda: (REFERENCES, SAME, ["nothing here is right"] * 4),
    },
    "vqa_formula": {
        "for 1 of 10": lambda matches, people: min(1.0, matches / 3),
        "for 1 of 5": lambda matches, people: min(1.0, 0.3 * matches),
    },
    "paired_bootstrap": {
        "does not hold the difference": lambda first, second, seed: (0.0, 0.0),
        "keep the two hits of a query together": apart,
        "middle 95 %": lambda first, second, seed: paired(first, second, seed, tail=0.005),
        "same seed": lambda first, second, seed: paired(first, second, int(np.random.default_rng().integers(1 << 30))),
    },
    "misleading_caption": {
        "is true of the scene": lambda caption: caption,
        "is no sentence of that form": lambda caption: "the honey is on the package",
        "changes the nouns or their order": lambda caption: parts_swapped(caption, 0),
        "reach the true caption's score, and 22 are asked for": other_ground,
    },
}  # fmt: skip


@pytest.mark.parametrize(("name", "words"), [(name, words) for name, cases in WRONG.items() for words in cases])
def test_checks_say_what_is_wrong(name: str, words: str) -> None:
    verdict = getattr(week01_checks, name)(WRONG[name][words])
    assert isinstance(verdict, Verdict) and not verdict.passed and words in verdict.message


def test_checks_accept_right_answers() -> None:
    mixed = [" ".join(reversed(caption.split())) for caption in SAME]
    assert week01_checks.opposite_order(lambda: (REFERENCES, mixed, ["there is a picture of a thing on the table"] * 4))
    assert week01_checks.paired_bootstrap(paired)
    assert week01_checks.misleading_caption(lambda caption: parts_swapped(caption, 2))
    assert week01_checks.vqa_formula(lambda m, n: m / n * min(1, (m - 1) / 3) + (n - m) / n * min(1, m / 3))
