"""Week 1, benchmarks and metrics: answers made from the emoji world whose order depends on how they are scored.

Nothing is trained. Each arm is a way of answering that one can describe in a sentence, so that it is plain what a
metric rewards. Headline: CIDEr-D prefers the captions that say everything right, in a phrasing that no reference uses,
to those that copy a reference's phrases and name every object wrong.

Most of what the chapter shows has a known answer, so no run can fail it: BLEU-1 of shuffled words, the scores of a
majority class, R@1 among equal captions. These are demonstrations, and tests hold their answers; they are no claims.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import itemgetter

import numpy as np
import torch

from tinyvlm.data.captions import captions
from tinyvlm.data.hashing import below, bits, chance
from tinyvlm.data.scenes import Scenes, SceneSpec, content, pool
from tinyvlm.data.world import World
from tinyvlm.experiments import presets
from tinyvlm.experiments.verdicts import direction
from tinyvlm.experiments.worlds import FULL
from tinyvlm.metrics.bleu import bleu
from tinyvlm.metrics.cider import cider_d
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
    """Who writes the captions, by the name of a function of this file."""

    system: str


ARMS = {
    "right facts, another phrasing": Arm("rephrased"),
    "copied phrases, wrong nouns": Arm("copied"),
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


CAPTIONING = {"rephrased": rephrased, "copied": copied}


def evaluate(arm: Arm, seed: int, budget: Budget) -> dict[str, float]:
    """What an arm's captions score on the scenes of seed `seed`, which all differ."""
    shown = world(seed)
    scenes = shown.scenes(shown.unique(budget.scenes))
    return caption_scores(CAPTIONING[arm.system](scenes), references(scenes))


def run_arm(arm: str, seed: int, preset: str, progress: Callable[[int, int], None] | None = None) -> dict[str, float]:
    """One job of the claims' queue: the arm's metrics on the scenes of seed `seed`."""
    found = evaluate(ARMS[arm], seed, BUDGETS[preset])
    if progress is not None:
        progress(1, 1)
    return found


CLAIMS = (
    direction(
        "facts-over-phrases",
        "CIDEr-D prefers the captions with every fact right, in a phrasing that no reference uses, to those that copy "
        "a reference's phrases and name every object wrong, by more than 0.5 of 10 points.",
        "CIDEr-D",
        itemgetter("CIDEr-D"),
        better="right facts, another phrasing",
        worse="copied phrases, wrong nouns",
        margin=0.5,
        kind="headline",
    ),
)
