"""Week 7, MaskVLM: the data it sees, how it is trained at each budget, and the claims, written down before the runs.

Headline: edit the caption, and the reconstructed object follows. The world has 16 nouns and one or two objects, so that
a small model can learn to paint them. Every seed is measured on scenes of its own.
"""

from dataclasses import dataclass
from operator import itemgetter

import torch

from tinyvlm.data.scenes import SceneSpec
from tinyvlm.data.world import World
from tinyvlm.experiments import edits, presets, scores
from tinyvlm.experiments.measure import hard_retrieval, hidden_nouns, retrieval, single_changes
from tinyvlm.experiments.pretrain import Report
from tinyvlm.experiments.recipes import adamw, stage
from tinyvlm.experiments.verdicts import Claim, Metrics, direction
from tinyvlm.experiments.words import content_rates
from tinyvlm.experiments.worlds import world
from tinyvlm.models.maskvlm import MaskVLM
from tinyvlm.models.maskvlm_task import MaskVLMTask
from tinyvlm.training import History, Stage, fit

SCENES = SceneSpec(objects=(1, 2), plates=4, backgrounds=2, nouns=16)


@dataclass(frozen=True)
class Budget:
    """What a preset spends: pairs an update, updates; scenes measured for retrieval, single changes and edits; the part
    of a picture's quarters that is hidden, the power of the pixels' error, the peak learning rate."""

    size: str
    batch: int
    steps: int
    gallery: int
    changes: int
    edits: int
    share: float = 0.25
    power: int = 2
    lr: float = 3e-3


# The gpu row is an estimate: it has not been run.
BUDGETS = {
    "smoke": Budget("micro", 16, 6, gallery=32, changes=32, edits=16),
    "cpu": Budget("micro", 64, 1000, gallery=512, changes=1024, edits=512),
    "gpu": Budget("small", 256, 6000, gallery=512, changes=1024, edits=512, lr=1e-3),
}


def budget(preset: str, size: str | None = None) -> Budget:
    """The preset's budget, for a model of `size` where one is asked for (see `presets.budget`)."""
    return presets.budget(BUDGETS, preset, MaskVLM.Config, size)


@dataclass(frozen=True)
class Arm:
    """Which objectives train, whether both modalities are masked at once, and whether the image side sees words."""

    itc: bool = True
    itm: bool = True
    mlm: bool = True
    mim: bool = True
    both_masked: bool = False
    see_text: bool = True


ARMS = {
    "MaskVLM": Arm(),
    "MIM without text": Arm(itc=False, itm=False, mlm=False, see_text=False),
    "both masked": Arm(both_masked=True),
    "without MIM": Arm(mim=False),
    "without MLM": Arm(mlm=False),
}


def recipe(scenes: World, budget: Budget) -> list[Stage]:
    """Pre-training in one stage."""
    return [stage("pre-train", budget.steps, scenes.source(budget.batch), adamw(budget.lr))]


def new_task(model: MaskVLM, arm: Arm, budget: Budget) -> MaskVLMTask:
    """How an arm trains a model. A hidden block is a quarter of the picture, the place of one object. Mostly nouns are
    hidden, colours as rarely as in week 5."""
    return MaskVLMTask(
        model,
        content_rates(colours=0.1),
        block=model.config.vision.image_size // 2,
        share=budget.share,
        power=budget.power,
        itc=arm.itc,
        itm=arm.itm,
        mlm=arm.mlm,
        mim=arm.mim,
        both_masked=arm.both_masked,
    )


def train(
    arm: Arm, seed: int, budget: Budget, progress: str | None = None, on_step: Report | None = None
) -> tuple[MaskVLM, History]:
    """One model from random weights (the paper: encoders from ImageNet and RoBERTa). The seed sets all."""
    torch.manual_seed(seed)
    model = MaskVLM.named(budget.size, see_text=arm.see_text)
    stages = recipe(world("train", seed, model.config.vision.image_size, SCENES), budget)
    return model, fit(new_task(model, arm, budget), stages, seed=seed, progress=progress, on_step=on_step)


def evaluate(model: MaskVLM, budget: Budget, seed: int = 0, arm: Arm = ARMS["MaskVLM"]) -> dict[str, float]:
    """What the arm's objectives trained: edited captions, hidden nouns, retrieval by the towers, single changes and
    hard retrieval by the matching score; on scenes drawn by the seed."""
    vision = model.config.vision
    scenes = world("val", seed, vision.image_size, SCENES)
    model.eval()
    found: dict[str, float] = {}
    if arm.mim:
        found |= edits.followed(edits.paint(model), scenes, vision.image_size // vision.patch, budget.edits)
    if arm.mlm:
        found["hidden nouns"] = hidden_nouns(scores.words(model), scenes, model.config.mask_id, budget.changes // 2)
    if arm.itc:
        found |= retrieval(scores.cosines(model), scenes, budget.gallery)
    if arm.itm:
        score = scores.matching(model)
        found |= {name: contrast.value for name, contrast in single_changes(score, scenes, budget.changes).items()}
        found |= hard_retrieval(score, scenes, budget.changes // 2)
    return found


def run_arm(arm: str, seed: int, preset: str, progress: Report | None = None) -> dict[str, float]:
    """One job of the claims' queue."""
    budget = BUDGETS[preset]
    model, history = train(ARMS[arm], seed, budget, on_step=progress)
    return evaluate(model, budget, seed, ARMS[arm]) | {"pre-training seconds": history.seconds}


FOLLOWED, HARD = itemgetter("edit followed, L2"), itemgetter("hard R@1")


def _joint(arms: dict[str, Metrics]) -> float:
    """How far the joint objective lies above the better of the two that leave one out."""
    return HARD(arms["MaskVLM"]) - max(HARD(arms["without MIM"]), HARD(arms["without MLM"]))


CLAIMS = (
    direction(
        "edit",
        "Edit the caption, and the reconstructed object follows: the painted cell is nearest to the edited noun's "
        "sprite more often than with masked image modelling that sees no text, by more than 0.5.",
        "edit followed, L2",
        FOLLOWED,
        better="MaskVLM",
        worse="MIM without text",
        margin=0.5,
        kind="headline",
    ),
    direction(
        "intact-caption",
        "Pixels rebuilt from an intact caption follow an edit more often than pixels rebuilt from a masked one.",
        "edit followed, L2",
        FOLLOWED,
        better="MaskVLM",
        worse="both masked",
    ),
    Claim(
        id="joint",
        kind="direction",
        statement="Masked words and masked pixels together teach matching more than either alone: the true caption "
        "wins more often among its changed versions than in the better of the two runs that leave one out.",
        metric="hard R@1",
        arms=("MaskVLM", "without MIM", "without MLM"),
        difference=_joint,
        value=HARD,
    ),
    direction(
        "one-per-pass",
        "One masked modality in each pass teaches matching more than both at once: the true caption wins more often "
        "among its changed versions.",
        "hard R@1",
        HARD,
        better="MaskVLM",
        worse="both masked",
    ),
)
