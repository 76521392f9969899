"""Week 1, benchmarks and metrics: answers made from the emoji world whose order depends on how they are scored.

Nothing is trained. Each arm is a way of answering that one can describe in a sentence, so that it is plain what a
metric rewards. Headline: two captioning systems change places between CIDEr-D and BLEU-4. One says everything right,
in a phrasing that no reference uses; the other copies a reference's phrases and names every object wrong.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from operator import itemgetter

import numpy as np
import torch

from tinyvlm.data.captions import captions
from tinyvlm.data.hashing import below, bits, chance
from tinyvlm.data.scenes import Scenes, SceneSpec, content, pool
from tinyvlm.data.world import World
from tinyvlm.experiments import presets
from tinyvlm.experiments.verdicts import Claim, Metrics, direction
from tinyvlm.experiments.worlds import FULL
from tinyvlm.metrics.bleu import bleu
from tinyvlm.metrics.cider import cider_d
from tinyvlm.metrics.classification import accuracy, mean_per_class_accuracy
from tinyvlm.metrics.retrieval import ranks
from tinyvlm.metrics.rouge import rouge_l
from tinyvlm.metrics.text import caption_words

# One scene in ten shows copies of one noun: a question with unequal classes.
COPIES = replace(FULL, repeats=0.1)
# Lone objects of few kinds: many scenes say exactly the same.
ALIKE = SceneSpec(objects=(1, 1), plates=4, backgrounds=1, nouns=64)

# Three of the world's phrasings are the references, as COCO has five people's captions; nobody there uses the fourth.
REFERENCES = (0, 1, 2)
OTHER = 3


@dataclass(frozen=True)
class Budget:
    """What a preset spends: scenes that each arm is scored on."""

    scenes: int


BUDGETS = {"smoke": Budget(64), "cpu": Budget(1000), "gpu": Budget(1000)}


def budget(preset: str, size: str | None = None) -> Budget:
    """The preset's budget. No model is trained, so that a `size` is refused (see `presets.budget`)."""
    return presets.budget(BUDGETS, preset, None, size)


@dataclass(frozen=True)
class Arm:
    """Who answers, by the name of a function of this file, and the scenes that are asked about."""

    system: str
    spec: SceneSpec = FULL


ARMS = {
    "right facts, another phrasing": Arm("rephrased"),
    "copied phrases, wrong nouns": Arm("copied"),
    "words in order": Arm("in_order"),
    "words shuffled": Arm("shuffled"),
    "majority class": Arm("majority", COPIES),
    "right for 7 in 10": Arm("seven_in_ten", COPIES),
    "knows what is true": Arm("all_knowing", ALIKE),
}


def world(seed: int, spec: SceneSpec = FULL) -> World:
    """The unseen scenes that seed `seed` scores its arms on."""
    return World("val", seed=seed, spec=spec)


def references(scenes: Scenes) -> list[list[str]]:
    """Three reference captions of each scene, as words between blanks."""
    each = [captions(scenes, phrasing=phrasing) for phrasing in REFERENCES]
    return [[caption_words(caption) for caption in of_scene] for of_scene in zip(*each, strict=True)]


def rephrased(scenes: Scenes) -> list[str]:
    """System 1: every fact right, in the phrasing that no reference uses."""
    return [caption_words(caption) for caption in captions(scenes, phrasing=OTHER)]


def copied(scenes: Scenes, wrong: float = 1.0) -> list[str]:
    """System 2: the phrases of the first reference, with a share `wrong` of the objects' nouns replaced.

    A caption's nouns all move on by the same number of places in the list of nouns, so that different ones stay
    different. ValueError for a share outside [0, 1].
    """
    if not 0 <= wrong <= 1:
        raise ValueError(f"wrong={wrong} is a share of objects: choose a number from 0 to 1.")
    ids = pool(scenes.spec, scenes.split)
    place = np.zeros(int(ids.max()) + 1, dtype=np.int64)
    place[ids] = np.arange(len(ids))
    shift = 1 + below(bits(scenes.key, "wrong noun"), len(ids) - 1)
    other = ids[(place[np.maximum(scenes.noun, 0)] + shift[:, None]) % len(ids)]
    change = (scenes.noun >= 0) & chance(bits(scenes.key, "which nouns", 4), wrong)
    said = replace(scenes, noun=np.where(change, other, scenes.noun).astype(np.int16))
    return [caption_words(caption) for caption in captions(said, phrasing=REFERENCES[0])]


def in_order(scenes: Scenes) -> list[str]:
    """The first reference itself."""
    return copied(scenes, wrong=0.0)


def shuffled(scenes: Scenes) -> list[str]:
    """The first reference's words in a random order."""
    return [shuffle(caption, int(key)) for caption, key in zip(in_order(scenes), scenes.key, strict=True)]


def shuffle(caption: str, seed: int) -> str:
    """The caption's words in an order drawn by `seed`."""
    words = caption.split()
    random.Random(seed).shuffle(words)
    return " ".join(words)


def caption_scores(hypotheses: list[str], truth: list[list[str]]) -> dict[str, float]:
    """Corpus BLEU-1 to BLEU-4, mean ROUGE-L, mean CIDEr-D (0 to 10)."""
    names = {f"BLEU-{n}": score for n, score in enumerate(bleu(hypotheses, truth).scores, start=1)}
    return {**names, "ROUGE-L": rouge_l(hypotheses, truth).mean, "CIDEr-D": cider_d(hypotheses, truth).mean}


def copies(scenes: Scenes) -> torch.Tensor:
    """How many copies of one noun a scene shows: class 0 for none, 1, 2, 3 for two, three, four; int64 [B]."""
    return torch.from_numpy(np.where(scenes.repeated, scenes.count - 1, 0))


def majority(labels: torch.Tensor, keys: np.ndarray) -> torch.Tensor:
    """The most frequent class, whatever the picture."""
    return torch.full_like(labels, int(labels.mode().values))


def seven_in_ten(labels: torch.Tensor, keys: np.ndarray) -> torch.Tensor:
    """Looks at the picture: right for seven in ten scenes of every class, else the next class."""
    right = torch.from_numpy(chance(bits(keys, "looks"), 0.7))
    return torch.where(right, labels, (labels + 1) % 4)


def same_content(scenes: Scenes) -> torch.Tensor:
    """Whether the caption of scene j is true of scene i: bool [B, B]."""
    said = content(scenes)
    return torch.from_numpy(said[:, None] == said[None, :])


def all_knowing(scenes: Scenes, seed: int) -> dict[str, float]:
    """Retrieval that scores a true caption 1 and a false one 0, equal scores put in order by chance."""
    true = same_content(scenes)
    scores = true + 1e-3 * torch.rand(true.shape, generator=torch.Generator().manual_seed(seed))
    own = torch.eye(len(true), dtype=torch.bool)
    return {
        "R@1, its own caption": float((ranks(scores, own) == 1).double().mean()),
        "R@1, any true caption": float((ranks(scores, true) == 1).double().mean()),
    }


CAPTIONING = {"rephrased": rephrased, "copied": copied, "in_order": in_order, "shuffled": shuffled}
ANSWERING = {"majority": majority, "seven_in_ten": seven_in_ten}


def evaluate(arm: Arm, seed: int, budget: Budget) -> dict[str, float]:
    """What an arm's answers score on the scenes of seed `seed`; captions are scored on scenes that all differ."""
    shown = world(seed, arm.spec)
    if arm.system in CAPTIONING:
        scenes = shown.scenes(shown.unique(budget.scenes))
        return caption_scores(CAPTIONING[arm.system](scenes), references(scenes))
    scenes = shown.scenes(range(budget.scenes))
    if arm.system not in ANSWERING:
        return all_knowing(scenes, seed)
    labels = copies(scenes)
    said = ANSWERING[arm.system](labels, scenes.key)
    return {"accuracy": accuracy(said, labels), "mean per class": mean_per_class_accuracy(said, labels)}


def run_arm(arm: str, seed: int, preset: str, progress: Callable[[int, int], None] | None = None) -> dict[str, float]:
    """One job of the claims' queue: the arm's metrics on the scenes of seed `seed`."""
    found = evaluate(ARMS[arm], seed, BUDGETS[preset])
    if progress is not None:
        progress(1, 1)
    return found


def settings(arm: str, preset: str) -> dict[str, object]:
    """What an arm is scored on, kept with its result: a result of other settings is not this arm's."""
    return asdict(ARMS[arm]) | asdict(BUDGETS[preset])


def canary() -> list[float]:
    """The smoke budget's metrics, in place of losses: no model is trained in this chapter."""
    return [value for arm in ARMS for value in run_arm(arm, 0, "smoke").values()]


Arms = Mapping[str, Metrics]


def flip(better: str, other: str, first: str, second: str, top: float = 1.0) -> Callable[[Arms], float]:
    """How clearly two metrics disagree: the smaller of `better`'s lead under `first` and `other`'s under `second`.

    Positive when their order flips. `top`: the highest value of `first`, so that both leads are shares.
    """

    def difference(arms: Arms) -> float:
        lead = (arms[better][first] - arms[other][first]) / top
        return min(lead, arms[other][second] - arms[better][second])

    return difference


def taken(metrics: Metrics) -> float:
    """R@1 that equal captions take from a scorer that knows which are true."""
    return metrics["R@1, any true caption"] - metrics["R@1, its own caption"]


CLAIMS = (
    Claim(
        id="order-flips",
        kind="headline",
        statement="Two captioning systems change places between CIDEr-D and BLEU-4: the one with every fact right in a "
        "phrasing of its own leads by more than 0.5 of 10 points of CIDEr-D, the one that copies phrases and names "
        "every object wrong leads by more than 0.05 of BLEU-4.",
        metric="CIDEr-D / 10 minus BLEU-4",
        arms=("right facts, another phrasing", "copied phrases, wrong nouns"),
        difference=flip("right facts, another phrasing", "copied phrases, wrong nouns", "CIDEr-D", "BLEU-4", top=10.0),
        # One arm's own number, for plots; the difference is the smaller of the two leads.
        value=lambda metrics: metrics["CIDEr-D"] / 10 - metrics["BLEU-4"],
        margin=0.05,
    ),
    Claim(
        id="shuffled-bleu1",
        kind="direction",
        statement="Shuffling the words of every caption leaves BLEU-1 exactly where it was.",
        metric="BLEU-1",
        arms=("words in order", "words shuffled"),
        # 0 - |…|, not -|…|: equality is 0, not -0.
        difference=lambda arms: 0.0 - abs(arms["words in order"]["BLEU-1"] - arms["words shuffled"]["BLEU-1"]),
        margin=-1e-9,
    ),
    direction(
        "shuffled-bleu4",
        "The same shuffling takes more than 0.5 from BLEU-4.",
        "BLEU-4",
        itemgetter("BLEU-4"),
        better="words in order",
        worse="words shuffled",
        margin=0.5,
    ),
    Claim(
        id="majority",
        kind="direction",
        statement="Where one class in four takes most scenes, always answering it beats an answerer who is right for "
        "seven in ten of every class in accuracy, and loses to it in mean-per-class accuracy.",
        metric="accuracy minus mean per class",
        arms=("majority class", "right for 7 in 10"),
        difference=flip("majority class", "right for 7 in 10", "accuracy", "mean per class"),
        value=lambda metrics: metrics["accuracy"] - metrics["mean per class"],
    ),
    Claim(
        id="interchangeable",
        kind="direction",
        statement="Where scenes share their captions, R@1 takes more than 0.3 from a scorer that knows exactly which "
        "captions are true.",
        metric="R@1 that equal captions take",
        arms=("knows what is true",),
        value=taken,
        difference=lambda arms: taken(arms["knows what is true"]),
        margin=0.3,
    ),
)
