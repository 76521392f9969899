"""Week 3, CLIP: the data it sees, how it is trained at each budget, and the claims, written down before the runs.

Headline: a dual encoder retrieves almost perfectly and hardly binds. It finds the caption of a picture among hundreds.
It tells the true caption from one with another object, colour or background, or with one object left out. It is close
to guessing when two objects or two colours have changed places.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from tinyvlm.data.scenes import SceneSpec
from tinyvlm.data.world import World
from tinyvlm.experiments import presets, scores, worlds
from tinyvlm.experiments.measure import FACTS, R1, SWAPS, retrieval, single_changes
from tinyvlm.experiments.pretrain import Report
from tinyvlm.experiments.recipes import adamw, stage
from tinyvlm.experiments.verdicts import Claim, direction, worst
from tinyvlm.experiments.worlds import FEW, FULL
from tinyvlm.models.clip import CLIP, CLIPConfig, CLIPTask
from tinyvlm.training import Stage, fit

# For questions about the recipe, where many runs are compared.
PAIRS = SceneSpec(objects=(2, 2), plates=4, backgrounds=2, nouns=64)


@dataclass(frozen=True)
class Budget:
    """What a preset spends: updates in the chapter's world and in the one of few objects, samples of each comparison of
    recipes, scenes measured; the peak learning rate."""

    size: str
    batch: int
    steps: int
    few_steps: int
    comparison_samples: int
    gallery: int
    changes: int
    lr: float = 1e-3


# The gpu row is an estimate: it has not been run.
BUDGETS = {
    "smoke": Budget("micro", 32, 20, few_steps=4, comparison_samples=512, gallery=64, changes=64),
    "cpu": Budget("micro", 128, 700, few_steps=500, comparison_samples=40_000, gallery=512, changes=1024),
    "gpu": Budget("small", 512, 6000, few_steps=6000, comparison_samples=400_000, gallery=512, changes=1024),
}


def budget(preset: str, size: str | None = None) -> Budget:
    """The preset's budget, for a model of `size` where one is asked for (see `presets.budget`)."""
    return presets.budget(BUDGETS, preset, CLIP.Config, size)


@dataclass(frozen=True)
class Arm:
    """One way to train. Comparisons are of equal "samples" or equal "steps", in batches of their own size.

    pools: how image and text tower are read (`CLIPConfig.image_pool`, `text_pool`); None: as the budget's size does.
    """

    spec: SceneSpec = FULL
    negatives: tuple[str, ...] = ()
    temperature: float | None = None
    pairs: int | None = None  # in a batch; None: the budget's
    equal: str | None = None
    pools: tuple[str, str] | None = None


TOKENS = "CLIP, class and end token"

ARMS = {
    "CLIP": Arm(),
    TOKENS: Arm(pools=("first", "last")),
    "CLIP, few objects": Arm(FEW),
    "CLIP + swapped captions, few objects": Arm(FEW, negatives=SWAPS),
    "learned temperature": Arm(PAIRS, pairs=128, equal="samples"),
    "temperature fixed at 1": Arm(PAIRS, pairs=128, equal="samples", temperature=1.0),
    "batch 64, equal samples": Arm(PAIRS, pairs=64, equal="samples"),
    "batch 256, equal samples": Arm(PAIRS, pairs=256, equal="samples"),
    "batch 512, equal samples": Arm(PAIRS, pairs=512, equal="samples"),
    "batch 64, equal steps": Arm(PAIRS, pairs=64, equal="steps"),
    "batch 512, equal steps": Arm(PAIRS, pairs=512, equal="steps"),
}


def world(split: str, seed: int, size: int, spec: SceneSpec = FULL) -> World:
    """The scenes of an experiment; captions of at most two objects are padded to 24 tokens, as in the stored runs."""
    return worlds.world(split, seed, size, spec, context=24 if spec.objects[1] <= 2 else None)


def updates(arm: Arm, budget: Budget) -> tuple[int, int]:
    """(steps, batch) of an arm. "Equal steps" are as many as batch 256 makes of the comparison's samples."""
    if arm.equal is None:
        return (budget.few_steps if arm.spec == FEW else budget.steps), budget.batch
    batch = min(arm.pairs or budget.batch, budget.comparison_samples // 2)
    return budget.comparison_samples // (256 if arm.equal == "steps" else batch), batch


def recipe(scenes: World, arm: Arm, budget: Budget) -> list[Stage]:
    """One stage; the optimiser has the betas and eps that the paper gives its ViTs."""
    steps, batch = updates(arm, budget)
    return [stage("contrastive", steps, scenes.source(batch, negatives=arm.negatives), adamw(budget.lr))]


def configuration(arm: Arm, budget: Budget) -> CLIPConfig:
    """The budget's size of model, read as the arm says; an image tower has a class token where that is what is read."""
    config = CLIP.Config.named(budget.size)
    if arm.pools is None:
        return config
    image, text = arm.pools
    vision = config.vision.replace(class_token=image == "first")
    return config.replace(vision=vision, image_pool=image, text_pool=text)


def train(arm: Arm, seed: int, budget: Budget, progress: str | None = None, on_step: Report | None = None) -> CLIP:
    """Train one model from scratch. Seed `s` sets both the initial weights and the training scenes."""
    torch.manual_seed(seed)
    model = CLIP(configuration(arm, budget))
    stages = recipe(world("train", seed, model.config.vision.image_size, arm.spec), arm, budget)
    fit(CLIPTask(model, temperature=arm.temperature), stages, seed=seed, progress=progress, on_step=on_step)
    return model


def evaluate(model: CLIP, budget: Budget, spec: SceneSpec = FULL, seed: int = 0) -> dict[str, float]:
    """Retrieval on unseen scenes, and every single change the scenes admit, as one flat dictionary."""
    scenes = world("val", seed, model.config.vision.image_size, spec)
    model.eval()
    found = retrieval(scores.cosines(model), scenes, budget.gallery)
    table = single_changes(scores.cosine(model), scenes, budget.changes)
    return {**found, **{change: contrast.value for change, contrast in table.items()}}


def run_arm(arm: str, seed: int, preset: str, progress: Report | None = None) -> dict[str, float]:
    """One job of the claims' queue."""
    budget = BUDGETS[preset]
    model = train(ARMS[arm], seed, budget, on_step=progress)
    return evaluate(model, budget, ARMS[arm].spec)


def gap(metrics: Mapping[str, float], known: tuple[str, ...] = R1 + FACTS) -> float:
    """The worst of what a dual encoder knows, above the better of the two swaps, which it confuses."""
    return worst(*known)(metrics) - max(metrics[change] for change in SWAPS)


def facts_gap(metrics: Mapping[str, float]) -> float:
    """The same without retrieval, for an arm that may learn to retrieve at another pace."""
    return gap(metrics, FACTS)


# Scenes that all seeds share: 512 for R@1, and about as many of 1,024 that admit a swap.
SHARED = 512

CLAIMS = (
    Claim(
        id="binding",
        kind="headline",
        statement="A dual encoder retrieves and recognises far better than it tells swaps apart: the worst of its R@1 "
        "(both ways), object, plate colour, background and one object left out lies more than 0.2 above the better of "
        "its two swap scores.",
        metric="worst of what it knows minus best swap",
        arms=("CLIP",),
        value=gap,
        difference=lambda arms: gap(arms["CLIP"]),
        margin=0.2,
        examples=SHARED,
    ),
    Claim(
        id="tokens",
        kind="direction",
        statement="A dual encoder that reads the class token and the end token, as CLIP does, has the gap too: in the "
        "same world, after as many updates, the worst of object, plate colour, background and one object left out lies "
        "more than 0.2 above the better of its two swap scores.",
        metric="worst fact minus best swap",
        arms=(TOKENS,),
        value=facts_gap,
        difference=lambda arms: facts_gap(arms[TOKENS]),
        margin=0.2,
        examples=SHARED,
    ),
    direction(
        "swaps",
        "Captions with swapped objects and colours as extra negatives teach the same towers to reject swapped captions "
        "of these two kinds (scenes of one or two objects): the worse of the two swap scores rises by more than 0.2.",
        "worse swap score",
        worst(*SWAPS),
        better="CLIP + swapped captions, few objects",
        worse="CLIP, few objects",
        margin=0.2,
        examples=SHARED,
    ),
    direction(
        "temperature",
        "A learned temperature that starts at 0.07 beats a temperature fixed at 1: R@1 differs by more than 0.2.",
        "R@1, worse direction",
        worst(*R1),
        better="learned temperature",
        worse="temperature fixed at 1",
        margin=0.2,
        examples=SHARED,
    ),
    direction(
        "batch-samples",
        "At equal samples and one learning rate, batches of 64 reach a higher R@1 than batches of 512.",
        "R@1, worse direction",
        worst(*R1),
        better="batch 64, equal samples",
        also=("batch 256, equal samples",),
        worse="batch 512, equal samples",
        examples=SHARED,
    ),
    direction(
        "batch-steps",
        "At equal updates and one learning rate, batches of 512 reach a higher R@1 than batches of 64.",
        "R@1, worse direction",
        worst(*R1),
        better="batch 512, equal steps",
        worse="batch 64, equal steps",
        examples=SHARED,
    ),
)
