"""Week 3, CLIP: the data it sees, how it is trained at each budget, and the claims, written down before the runs.

Headline: a dual encoder retrieves almost perfectly and still cannot bind. It finds the caption of a picture among
hundreds, and tells a caption with another object, colour, background or count from the true one; but when two objects
or two colours have merely changed places it is close to guessing.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache

import torch
from torch import Tensor

from tinyvlm.data.scenes import SceneSpec
from tinyvlm.data.world import World
from tinyvlm.encoders import normalise
from tinyvlm.experiments.claims import Claim
from tinyvlm.experiments.measure import Score, retrieval, single_changes
from tinyvlm.models.clip import CLIP, CLIPTask
from tinyvlm.training import Optimiser, Schedule, Stage, fit

Metrics = dict[str, float]

# What dual encoders know, and what they confuse.
SEEN_CHANGES = ("object", "plate colour", "background", "count")
BINDING_CHANGES = ("objects swapped", "colours swapped")
# The chapter's world: 1-4 objects on plates of four colours, two backgrounds, every seen noun.
SCENES = SceneSpec(objects=(1, 4), plates=4, backgrounds=2)
# Smaller ones, for questions about the recipe, where many runs are compared.
PAIRS = SceneSpec(objects=(2, 2), plates=4, backgrounds=2, nouns=64)
FEW = SceneSpec(objects=(1, 2), plates=4, backgrounds=2, nouns=64)


def world(split: str, seed: int, spec: SceneSpec, size: int) -> World:
    """The scenes of an experiment, their captions padded no further than they need (34 tokens for four objects)."""
    return World(split, seed=seed, spec=spec, size=size, context=24 if spec.objects[1] <= 2 else 34)


@dataclass(frozen=True)
class Budget:
    """What a preset spends: updates in the chapter's world and in the one of few objects, samples of each comparison of
    recipes, scenes measured."""

    size: str
    batch: int
    steps: int
    few_steps: int
    comparison_samples: int
    gallery: int
    changes: int


# The gpu row is an estimate: it has not been run.
BUDGETS = {
    "smoke": Budget("micro", batch=32, steps=20, few_steps=4, comparison_samples=512, gallery=64, changes=64),
    "cpu": Budget("micro", batch=128, steps=700, few_steps=500, comparison_samples=40_000, gallery=512, changes=1024),
    "gpu": Budget(
        "small", batch=512, steps=6000, few_steps=6000, comparison_samples=400_000, gallery=512, changes=1024
    ),
}


def budget(preset: str) -> Budget:
    """The preset's budget; TINYVLM_SIZE in the environment asks for another model size."""
    chosen = BUDGETS[preset]
    size = os.environ.get("TINYVLM_SIZE") or chosen.size
    CLIP.Config.named(size)  # refuses a size that does not exist, with the list of those that do
    return replace(chosen, size=size)


def recipe(scenes: World, steps: int, batch: int, negatives: tuple[str, ...] = (), lr: float = 1e-3) -> list[Stage]:
    """One stage: AdamW with the paper's betas for ViTs (.9, .98), warm-up, cosine to 2 % of the peak."""
    schedule = Schedule(warmup=min(50, max(1, steps // 4)), kind="cosine", floor=0.02)
    optimiser = Optimiser(lr=lr, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.05)
    source = scenes.source(batch, negatives=negatives)
    return [Stage("contrastive", steps, source, optimisers=(optimiser,), schedule=schedule)]


def similarity(model: CLIP) -> Callable[[dict[str, Tensor]], Tensor]:
    """Cosines of all pictures (rows) with all captions (columns) of a batch."""
    device = model.log_scale.device

    def score(batch: dict[str, Tensor]) -> Tensor:
        image = model.encode_image(normalise(batch["image"].to(device)))
        return (image @ model.encode_text(batch["text"].to(device), batch["text_mask"].to(device)).T).cpu()

    return score


def pair_score(model: CLIP) -> Score:
    """Cosine of each picture with its own caption."""
    device = model.log_scale.device

    def score(image: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        pictures = model.encode_image(normalise(image.to(device)))
        return (pictures * model.encode_text(text.to(device), mask.to(device))).sum(1).cpu()

    return score


def evaluate(model: CLIP, budget: Budget, spec: SceneSpec = SCENES, seed: int = 0) -> Metrics:
    """Retrieval on unseen scenes, and every single change the scenes admit, as one flat dictionary."""
    scenes = world("val", seed, spec, model.config.vision.image_size)
    model.eval()
    found = retrieval(similarity(model), scenes, budget.gallery)
    table = single_changes(pair_score(model), scenes, budget.changes)
    return {**found, **{change: contrast.value for change, contrast in table.items()}}


@dataclass(frozen=True)
class Arm:
    """One way to train. `batch`, `steps` and `samples` override the budget's."""

    spec: SceneSpec = SCENES
    negatives: tuple[str, ...] = ()
    temperature: float | None = None
    batch: int | None = None
    equal: str | None = None  # "samples" or "steps": a comparison run on the smaller world


ARMS = {
    "CLIP": Arm(),
    "CLIP, few objects": Arm(FEW),
    "CLIP + swapped captions, few objects": Arm(FEW, negatives=BINDING_CHANGES),
    "learned temperature": Arm(PAIRS, batch=128, equal="samples"),
    "temperature fixed at 1": Arm(PAIRS, batch=128, equal="samples", temperature=1.0),
    "batch 64, equal samples": Arm(PAIRS, batch=64, equal="samples"),
    "batch 256, equal samples": Arm(PAIRS, batch=256, equal="samples"),
    "batch 512, equal samples": Arm(PAIRS, batch=512, equal="samples"),
    "batch 64, equal steps": Arm(PAIRS, batch=64, equal="steps"),
    "batch 512, equal steps": Arm(PAIRS, batch=512, equal="steps"),
}


def updates(arm: Arm, budget: Budget) -> tuple[int, int]:
    """(steps, batch) of an arm. "Equal steps" are as many as batch 256 makes of the comparison's samples."""
    if arm.equal is None:
        return (budget.few_steps if arm.spec == FEW else budget.steps), budget.batch
    batch = min(arm.batch or budget.batch, budget.comparison_samples // 2)
    return budget.comparison_samples // (256 if arm.equal == "steps" else batch), batch


def train(
    arm: Arm, seed: int, budget: Budget, progress: str | None = None, on_step: Callable[[int, int], None] | None = None
) -> CLIP:
    """Train one model from scratch. Seed `s` sets both the initial weights and the training scenes."""
    torch.manual_seed(seed)
    model = CLIP.named(budget.size)
    scenes = world("train", seed, arm.spec, model.config.vision.image_size)
    steps, batch = updates(arm, budget)
    task = CLIPTask(model, temperature=arm.temperature)
    fit(task, recipe(scenes, steps, batch, arm.negatives), seed=seed, progress=progress, on_step=on_step)
    return model


def run_arm(arm: str, seed: int, preset: str, progress: Callable[[int, int], None] | None = None) -> Metrics:
    """One job of the claims' queue."""
    if arm not in ARMS:
        raise ValueError(f"week 3 has no arm {arm!r}; choose from {', '.join(ARMS)}")
    budget = BUDGETS[preset]
    model = train(ARMS[arm], seed, budget, on_step=progress)
    return evaluate(model, budget, ARMS[arm].spec)


def canary() -> list[float]:
    """Losses of the first 20 updates of a fixed small run: equal losses mean that the code still does the same."""
    return list(_canary())


@cache
def _canary() -> tuple[float, ...]:
    # Once a process: a chapter asks for it with its claims and with its receipt.
    torch.manual_seed(0)
    task = CLIPTask(CLIP.named("micro"))
    stages = recipe(world("train", 0, SCENES, 48), 20, BUDGETS["smoke"].batch, BINDING_CHANGES)
    return tuple(fit(task, stages, seed=0, progress=None, device="cpu").loss)


def settings(arm: str, preset: str) -> dict[str, object]:
    """What an arm spends, kept with its result: a result of other settings is not this arm's."""
    steps, batch = updates(ARMS[arm], BUDGETS[preset])
    return {**asdict(ARMS[arm]), "steps": steps, "batch": batch, "size": BUDGETS[preset].size}


def _retrieval(metrics: Mapping[str, float]) -> float:
    return min(metrics["image to text R@1"], metrics["text to image R@1"])


def _binding(metrics: Mapping[str, float]) -> float:
    return min(metrics[change] for change in BINDING_CHANGES)


def _gap(metrics: Mapping[str, float]) -> float:
    seen = min(_retrieval(metrics), *(metrics[change] for change in SEEN_CHANGES))
    return seen - max(metrics[change] for change in BINDING_CHANGES)


def _direction(
    id: str, statement: str, metric: str, value: Callable[[Mapping[str, float]], float], better: str, worse: str,
    margin: float = 0.0, also: tuple[str, ...] = (),
) -> Claim:  # fmt: skip
    """A comparison of two arms by one number; `also` names arms that are shown beside them."""
    return Claim(
        id=id, kind="direction", statement=statement, metric=metric, value=value, margin=margin,
        arms=(better, *also, worse), difference=lambda arms: value(arms[better]) - value(arms[worse]),
    )  # fmt: skip


CLAIMS = (
    Claim(
        id="binding",
        kind="headline",
        statement="A dual encoder retrieves almost perfectly and still cannot bind: the worst of its R@1 (both ways), "
        "object, plate colour, background and count lies more than 0.2 above the better of its two swap scores.",
        metric="worst of what it knows minus best swap",
        arms=("CLIP",),
        value=_gap,
        difference=lambda arms: _gap(arms["CLIP"]),
        margin=0.2,
    ),
    _direction(
        "swaps",
        "The same towers bind as soon as captions with swapped objects and colours are given as extra negatives "
        "(scenes of one or two objects, 64 nouns): the worse of the two swap scores rises by more than 0.2.",
        "worse swap score",
        _binding,
        better="CLIP + swapped captions, few objects",
        worse="CLIP, few objects",
        margin=0.2,
    ),
    _direction(
        "temperature",
        "A learned temperature trains, a temperature fixed at 1 hardly does: R@1 differs by more than 0.2.",
        "R@1, worse direction",
        _retrieval,
        better="learned temperature",
        worse="temperature fixed at 1",
        margin=0.2,
    ),
    _direction(
        "batch-samples",
        "At equal samples and this scale small batches win, against the folklore: 64 beats 512 in R@1.",
        "R@1, worse direction",
        _retrieval,
        better="batch 64, equal samples",
        also=("batch 256, equal samples",),
        worse="batch 512, equal samples",
    ),
    _direction(
        "batch-steps",
        "At equal steps large batches win, as the folklore says: 512 beats 64 in R@1.",
        "R@1, worse direction",
        _retrieval,
        better="batch 512, equal steps",
        worse="batch 64, equal steps",
    ),
)
