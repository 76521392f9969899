"""Week 5, ALBEF: the data it sees, how it is trained at each budget, and the claims, written down before the runs.

Headline: masked words make the fusion encoder bind objects to their places. All claims were written down at an earlier
recipe (peak rate 1e-3), before any run at this one; every seed is measured on scenes of its own.
"""

from dataclasses import dataclass
from operator import itemgetter

import torch

from tinyvlm.data.noise import Noise
from tinyvlm.data.world import World
from tinyvlm.experiments import presets, scores
from tinyvlm.experiments.measure import R1, SWAPS, hard_retrieval, hidden_nouns, retrieval, single_changes
from tinyvlm.experiments.pretrain import Report, name_sprites
from tinyvlm.experiments.recipes import adamw, stage
from tinyvlm.experiments.verdicts import direction, mean, worst
from tinyvlm.experiments.words import content_rates
from tinyvlm.experiments.worlds import FEW, world
from tinyvlm.models.albef import ALBEF
from tinyvlm.models.albef_task import ALBEFTask
from tinyvlm.training import History, Stage, fit

WRONG = Noise(swapped=0.3)


@dataclass(frozen=True)
class Budget:
    """What a preset spends: updates of the image tower on single sprites, of pre-training, and of the runs with wrong
    captions; the twin's momentum, the queues' length, the ramp of alpha in updates; scenes measured; peak learning
    rates of pre-training and of the tower's lesson."""

    size: str
    batch: int
    tower: int
    steps: int
    noisy_steps: int
    momentum: float
    queue: int
    ramp: int
    gallery: int
    changes: int
    lr: float = 1e-3
    tower_lr: float = 1e-3


# The gpu row is an estimate: it has not been run.
BUDGETS = {
    "smoke": Budget("micro", 16, 6, 6, 6, momentum=0.9, queue=64, ramp=4, gallery=32, changes=32),
    "cpu": Budget("micro", 64, 300, 800, 400, momentum=0.9, queue=256, ramp=100, gallery=512, changes=1024, lr=2e-3),
    "gpu": Budget("small", 256, 1000, 6000, 3000, momentum=0.995, queue=4096, ramp=1000, gallery=512, changes=1024),
}


def budget(preset: str, size: str | None = None) -> Budget:
    """The preset's budget, for a model of `size` where one is asked for (see `presets.budget`)."""
    return presets.budget(BUDGETS, preset, ALBEF.Config, size)


@dataclass(frozen=True)
class Arm:
    """Which objectives train, how negatives are found, and what the captions are like."""

    itc: bool = True
    mlm: bool = True
    hard: bool = True
    negatives: tuple[str, ...] = ()
    wrong: bool = False
    alpha: float = 0.0


ARMS = {
    "ALBEF": Arm(),
    "without MLM": Arm(mlm=False),
    "without ITC": Arm(itc=False),
    "random negatives": Arm(hard=False),
    "without MLM + swapped captions": Arm(mlm=False, negatives=SWAPS),
    "wrong captions, alpha 0": Arm(wrong=True),
    "wrong captions, alpha 0.4": Arm(wrong=True, alpha=0.4),
}


def recipe(scenes: World, arm: Arm, budget: Budget) -> list[Stage]:
    """Pre-training in one stage."""
    steps = budget.noisy_steps if arm.wrong else budget.steps
    return [stage("pre-train", steps, scenes.source(budget.batch, negatives=arm.negatives), adamw(budget.lr))]


def new_task(model: ALBEF, arm: Arm, budget: Budget) -> ALBEFTask:
    """How an arm trains a model. Mostly nouns are hidden, colours less often than in week 4."""
    return ALBEFTask(
        model,
        content_rates(colours=0.1),
        itc=arm.itc,
        mlm=arm.mlm,
        hard=arm.hard,
        momentum=budget.momentum,
        queue=budget.queue,
        alpha=arm.alpha,
        ramp=budget.ramp,
    )


def train(
    arm: Arm, seed: int, budget: Budget, progress: str | None = None, on_step: Report | None = None
) -> tuple[ALBEF, History]:
    """An image tower that has named single sprites (the paper: DeiT), then pre-training. The seed sets all."""
    torch.manual_seed(seed)
    model = ALBEF.named(budget.size)
    tower, size = model.config.vision, model.config.vision.image_size
    name_sprites(model.vision, tower.width, FEW, seed=seed, size=size, steps=budget.tower, lr=budget.tower_lr)
    stages = recipe(world("train", seed, size, noise=WRONG if arm.wrong else None), arm, budget)
    return model, fit(new_task(model, arm, budget), stages, seed=seed, progress=progress, on_step=on_step)


def evaluate(model: ALBEF, budget: Budget, seed: int = 0) -> dict[str, float]:
    """Retrieval by the towers; single changes and hard retrieval by the matching score and by the towers; on scenes
    drawn by the seed, so that an interval over seeds carries the error of the test as well."""
    scenes = world("val", seed, model.config.vision.image_size)
    model.eval()
    found = {"hidden nouns": hidden_nouns(scores.words(model), scenes, model.config.mask_id, budget.changes // 2)}
    found |= retrieval(scores.cosines(model), scenes, budget.gallery)
    for name, score in (("", scores.matching(model)), ("towers: ", scores.cosine(model))):
        found |= {name + c: contrast.value for c, contrast in single_changes(score, scenes, budget.changes).items()}
        found |= {name + key: value for key, value in hard_retrieval(score, scenes, budget.changes // 2).items()}
    return found


def run_arm(arm: str, seed: int, preset: str, progress: Report | None = None) -> dict[str, float]:
    """One job of the claims' queue."""
    budget = BUDGETS[preset]
    model, history = train(ARMS[arm], seed, budget, on_step=progress)
    return evaluate(model, budget, seed) | {"pre-training seconds": history.seconds}


placing = itemgetter("objects swapped")

CLAIMS = (
    direction(
        "binding",
        "Masked words make the fusion encoder bind objects to their places: with all three objectives the matching "
        "score prefers the true caption to one with two objects swapped more often than without MLM, by more than "
        "0.05.",
        "objects swapped",
        placing,
        better="ALBEF",
        worse="without MLM",
        also=("without ITC",),
        margin=0.05,
        kind="headline",
    ),
    direction(
        "contrast-and-binding",
        "Contrast delays binding: after equal updates the matching score tells swapped objects apart more often "
        "without ITC than with it, by more than 0.05.",
        "objects swapped",
        placing,
        better="without ITC",
        worse="ALBEF",
        margin=0.05,
    ),
    direction(
        "swaps",
        "Swapped captions as further negatives of matching bind without masked words: the worse of the two swap scores "
        "rises by more than 0.2.",
        "worse swap score",
        worst(*SWAPS),
        better="without MLM + swapped captions",
        worse="without MLM",
        margin=0.2,
    ),
    direction(
        "hard-negatives",
        "Negatives drawn by similarity teach more than random ones: the true caption wins more often among its changed "
        "versions.",
        "hard R@1",
        itemgetter("hard R@1"),
        better="ALBEF",
        worse="random negatives",
    ),
    direction(
        "distillation",
        "With three captions in ten wrong, the momentum model's soft targets help beyond its keys: R@1 (mean of both "
        "ways) is higher with alpha 0.4 than with alpha 0.",
        "mean R@1",
        mean(*R1),
        better="wrong captions, alpha 0.4",
        worse="wrong captions, alpha 0",
    ),
)
