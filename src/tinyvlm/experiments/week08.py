"""Week 8, VLMo: the data it sees, how it is trained at each budget, and the claims, before the runs.

Headline: to be written. Until then a claim about the linear probe stands in its place: a tower that is trained with the
linear layer names more nouns than one that keeps its random weights.
"""

from dataclasses import dataclass
from operator import itemgetter

import torch

from tinyvlm.data.single import Singles
from tinyvlm.experiments import presets
from tinyvlm.experiments.pretrain import Report
from tinyvlm.experiments.readout import features
from tinyvlm.experiments.recipes import adamw, stage
from tinyvlm.experiments.verdicts import direction
from tinyvlm.metrics.classification import accuracy, mean_per_class_accuracy
from tinyvlm.models.vlmo import VLMo, VLMoConfig, VLMoTask
from tinyvlm.training import History, Stage, fit


@dataclass(frozen=True)
class Budget:
    """What a preset spends: updates, nouns to tell apart, pictures measured; the peak learning rate."""

    size: str
    batch: int
    steps: int
    nouns: int
    measured: int
    lr: float = 1e-3

    def view(self, split: str, seed: int) -> Singles:
        """The pictures of a split."""
        tower = VLMoConfig.named(self.size).tower
        return Singles(split, seed=seed, size=tower.image_size, nouns=self.nouns)


# The gpu row is an estimate: it has not been run.
BUDGETS = {
    "smoke": Budget("micro", 32, 12, nouns=16, measured=64),
    "cpu": Budget("micro", 128, 300, nouns=64, measured=1_000),
    "gpu": Budget("small", 512, 2_000, nouns=315, measured=4_000),
}


def budget(preset: str, size: str | None = None) -> Budget:
    """The preset's budget, for a model of `size` where one is asked for (see `presets.budget`)."""
    return presets.budget(BUDGETS, preset, VLMoConfig, size)


@dataclass(frozen=True)
class Arm:
    """One way to train. `trainable` is searched in names of parameters; the others are frozen (None: all learn)."""

    trainable: str | None = None


ARMS = {
    "VLMo": Arm(),
    "frozen tower": Arm(r"\bhead\b"),
}


def recipe(pictures: Singles, arm: Arm, budget: Budget) -> list[Stage]:
    """One stage; a picture comes once."""
    source = pictures.source(budget.batch)
    return [stage("classify", budget.steps, source, adamw(budget.lr), trainable=arm.trainable)]


def new_task(budget: Budget) -> VLMoTask:
    """A randomly initialised network and how it is trained."""
    return VLMoTask(VLMo.named(budget.size, classes=budget.nouns))


def train(
    arm: Arm, seed: int, budget: Budget, progress: str | None = None, on_step: Report | None = None
) -> tuple[VLMo, History]:
    """One model from scratch. The seed sets the weights and the pictures."""
    torch.manual_seed(seed)
    task = new_task(budget)
    stages = recipe(budget.view("train", seed), arm, budget)
    history = fit(task, stages, seed=seed, progress=progress, on_step=on_step)
    return task.model.eval(), history


def evaluate(model: VLMo, budget: Budget, seed: int = 0) -> dict[str, float]:
    """Accuracies on pictures that no training run has seen."""
    model.eval()
    batch = budget.view("val", seed).batch(range(budget.measured))
    predicted = features(model, batch["image"])[1].argmax(1)
    return {
        "top-1": accuracy(predicted, batch["label"]),
        "mean per class": mean_per_class_accuracy(predicted, batch["label"]),
    }


def run_arm(arm: str, seed: int, preset: str, progress: Report | None = None) -> dict[str, float]:
    """One job of the claims' queue."""
    budget = BUDGETS[preset]
    model, _ = train(ARMS[arm], seed, budget, on_step=progress)
    return evaluate(model, budget, seed)


CLAIMS = (
    direction(
        "tower",
        "A tower that is trained with the linear layer names more nouns than one that keeps its random weights: its "
        "top-1 accuracy is higher by more than 0.05.",
        "top-1",
        itemgetter("top-1"),
        kind="headline",
        better="VLMo",
        worse="frozen tower",
        margin=0.05,
    ),
)
