"""Week 2, ViT: a Transformer without convolution against a small ResNet of equal size, as the data grows.

Headline: the CNN's lead shrinks as data grows (the design of the paper's section 4.3, figure 4: random subsets of one
data set). Both networks make the same number of updates, on a fixed set of pictures that is small, medium or large;
only how often a picture comes back differs. Deviations: equal parameters instead of equal cost (the CNN has twice the
multiply-adds), and top-1 on the training classes, where the CNN is near its ceiling.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.single import Singles
from tinyvlm.encoders.resnet import ResNet, ResNetConfig
from tinyvlm.experiments import presets
from tinyvlm.experiments.pretrain import Report
from tinyvlm.experiments.readout import features, ridge
from tinyvlm.experiments.recipes import adamw, stage
from tinyvlm.experiments.verdicts import Claim, direction
from tinyvlm.metrics.classification import accuracy, mean_per_class_accuracy
from tinyvlm.models.vit import ViT, ViTConfig, ViTOutput, ViTTask
from tinyvlm.training import History, Stage, fit


class CNN(nn.Module):
    """The baseline: a small residual network, its grid averaged, a linear head that starts at zero, as ViT's does."""

    def __init__(self, size: str, classes: int):
        super().__init__()
        config = ResNetConfig.named(size)
        self.tower = ResNet(config)
        self.head = nn.Linear(config.width, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, image: Float[Tensor, "b c size size"]) -> ViTOutput:
        grid = self.tower(image).flatten(2).transpose(1, 2)
        features = grid.mean(1)
        return ViTOutput(grid, features, self.head(features))


# What each variant of ViT changes: fields of the tower, fields of the model.
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ViT": ({}, {}),
    "ViT without positions": ({"positions": False}, {}),
    "ViT with mean pooling": ({"class_token": False}, {"pool": "mean"}),
}


def network(name: str, size: str = "micro", classes: int = 64) -> nn.Module:
    """`CNN`, or one of VARIANTS, randomly initialised."""
    if name == "CNN":
        return CNN(size, classes)
    if name not in VARIANTS:
        raise ValueError(f"week 2 has no network {name!r}; choose from {', '.join(['CNN', *VARIANTS])}")
    tower, model = VARIANTS[name]
    config = ViTConfig.named(size, classes=classes, **model)
    return ViT(config.replace(tower=config.tower.replace(**tower)))


@dataclass(frozen=True)
class Budget:
    """What a preset spends: updates of each network, nouns to tell apart, pictures of the three training sets, pictures
    measured, and those of each novel noun; the peak learning rate."""

    size: str
    batch: int
    steps: int
    nouns: int
    pictures: tuple[int, int, int]
    measured: int
    queries: int
    lr: float = 1e-3

    @property
    def pixels(self) -> int:
        """Side of a picture."""
        side: int = ViTConfig.named(self.size).tower.image_size
        return side

    def view(self, split: str, seed: int) -> Singles:
        """The pictures of a split."""
        return Singles(split, seed=seed, size=self.pixels, nouns=None if split == "novel" else self.nouns)


# 64 nouns on the CPU: with all 315 the smallest network would still be learning to see when its updates are spent, and
# the sweep would measure that instead of the data. The gpu row is an estimate: it has not been run.
BUDGETS = {
    "smoke": Budget("micro", 32, 12, nouns=64, pictures=(64, 128, 256), measured=64, queries=1),
    "cpu": Budget("micro", 128, 400, nouns=64, pictures=(1_000, 7_000, 49_000), measured=2_000, queries=10),
    "gpu": Budget("small", 512, 4_000, nouns=315, pictures=(4_000, 64_000, 1_000_000), measured=4_000, queries=10),
}


def budget(preset: str, size: str | None = None) -> Budget:
    """The preset's budget, for networks of `size` where one is asked for (see `presets.budget`)."""
    return presets.budget(BUDGETS, preset, ResNetConfig, size)  # the sizes in which there is a baseline


@dataclass(frozen=True)
class Arm:
    """Networks trained on one of the three training sets; the first is a ViT."""

    data: int
    networks: tuple[str, ...] = ("ViT", "CNN")


ARMS = {
    "little data": Arm(0),
    "more data": Arm(1),
    "much data": Arm(2),
    "much data, no positions": Arm(2, ("ViT without positions",)),
    "much data, mean pooling": Arm(2, ("ViT with mean pooling",)),
}


def recipe(pictures: Singles, examples: int, budget: Budget) -> list[Stage]:
    """One stage on `examples` pictures; gradients are clipped at 1, as in the paper's table 3."""
    source = pictures.source(budget.batch, examples=examples)
    return [stage("classify", budget.steps, source, adamw(budget.lr, betas=(0.9, 0.999), eps=1e-8))]


def train(
    name: str, examples: int, seed: int, budget: Budget, progress: str | None = None, on_step: Report | None = None
) -> tuple[nn.Module, History]:
    """One network from scratch on `examples` pictures. The seed sets the weights and the pictures."""
    torch.manual_seed(seed)
    model = network(name, budget.size, budget.nouns)
    stages = recipe(budget.view("train", seed), examples, budget)
    history = fit(ViTTask(model), stages, seed=seed, progress=progress, on_step=on_step)
    return model.eval(), history


def shuffle_patches(
    image: UInt8[Tensor, "b c size size"], patch: int, generator: torch.Generator
) -> UInt8[Tensor, "b c size size"]:
    """Each picture with its patches in another order, drawn for it alone."""
    side = image.shape[-1] // patch
    squares = rearrange(image, "b c (y p) (x q) -> b (y x) c p q", p=patch, q=patch)
    order = torch.rand(squares.shape[:2], generator=generator).argsort(1)
    squares = squares[torch.arange(len(image))[:, None], order.to(image.device)]
    return rearrange(squares, "b (y x) c p q -> b c (y p) (x q)", y=side)


def evaluate(model: nn.Module, budget: Budget, seed: int = 0) -> dict[str, float]:
    """Accuracies on pictures that no training set holds, and on the same with their patches shuffled."""
    model.eval()
    batch = budget.view("val", seed).batch(range(budget.measured))
    patch = ViTConfig.named(budget.size).tower.patch
    shuffled = shuffle_patches(batch["image"], patch, torch.Generator().manual_seed(seed))
    predicted, confused = (features(model, image)[1].argmax(1) for image in (batch["image"], shuffled))
    return {
        "top-1": accuracy(predicted, batch["label"]),
        "mean per class": mean_per_class_accuracy(predicted, batch["label"]),
        "patches shuffled": accuracy(confused, batch["label"]),
    }


def few_shot(model: nn.Module, budget: Budget, seed: int = 0, shots: int = 5) -> float:
    """Top-1 on nouns never trained on, by a linear readout of frozen features from `shots` pictures of each."""
    nouns = torch.tensor(load_emoji().novel)
    count, split = len(nouns) * (shots + budget.queries), len(nouns) * shots
    label = torch.arange(count) % len(nouns)
    found, _ = features(model, budget.view("novel", seed).show(nouns[label], range(count)))
    return accuracy(ridge(found[:split], label[:split], found[split:]), label[split:])


def run_arm(arm: str, seed: int, preset: str, progress: Report | None = None) -> dict[str, float]:
    """One job of the claims' queue: the arm's networks on its training set. "ViT" is the arm's variant of it."""
    budget, names = BUDGETS[preset], ARMS[arm].networks
    found: dict[str, float] = {}
    for turn, name in enumerate(names):

        def report(done: int, total: int, turn: int = turn) -> None:  # several trainings of one job as one count
            if progress is not None:
                progress(done + turn * total, len(names) * total)

        model, _ = train(name, budget.pictures[ARMS[arm].data], seed, budget, on_step=report)
        measured = evaluate(model, budget, seed)
        key = "CNN" if name == "CNN" else "ViT"
        found |= {key: measured["top-1"], f"{key}, patches shuffled": measured["patches shuffled"]}
    return found | ({"gap": found["CNN"] - found["ViT"]} if "CNN" in found else {})


def lost(metrics: Mapping[str, float]) -> float:
    """Top-1 that shuffling the patches takes from a ViT."""
    return metrics["ViT"] - metrics["ViT, patches shuffled"]


CLAIMS = (
    direction(
        "data",
        "The lead of a small CNN over a ViT in top-1 accuracy shrinks as data grows: at equal updates it is larger on "
        "the smallest training set than on the largest. The networks have equal parameters, and the CNN needs about "
        f"twice the multiply-adds. In preset cpu they name one of {BUDGETS['cpu'].nouns} drawings, and the CNN is near "
        "its ceiling (top-1 of at least 0.97).",
        "gap",
        itemgetter("gap"),
        kind="headline",
        better="little data",
        also=("more data",),
        worse="much data",
    ),
    direction(
        "positions",
        "On the largest training set a ViT with position embeddings reaches a higher top-1 accuracy than one without.",
        "top-1 of the ViT",
        itemgetter("ViT"),
        better="much data",
        worse="much data, no positions",
    ),
    Claim(
        id="shuffling",
        kind="direction",
        statement="Shuffling the patches of each picture lowers the top-1 accuracy of a ViT by more than 0.05. From "
        "this loss we subtract that of a ViT without position embeddings, which is zero by construction.",
        metric="top-1 lost by shuffling patches",
        arms=("much data", "much data, no positions"),
        difference=lambda arms: lost(arms["much data"]) - abs(lost(arms["much data, no positions"])),
        margin=0.05,
        value=lost,
    ),
    direction(
        "pooling",
        "At one learning rate a ViT with a class token reaches a higher top-1 accuracy than one with mean pooling. In "
        "the paper's figure 9 the two are alike once each has its own learning rate.",
        "top-1 of the ViT",
        itemgetter("ViT"),
        better="much data",
        worse="much data, mean pooling",
    ),
)
