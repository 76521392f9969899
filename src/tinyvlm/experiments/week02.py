"""Week 2, ViT: a Transformer without convolution against a small ResNet of equal size, as the data grows.

Headline: on little data the convolution's built-in assumptions win; the gap shrinks as data grows (the paper's section
4.3, figures 3 and 4, there between ImageNet and JFT-300M). Both networks make the same number of updates, on a fixed
set of pictures that is small, medium or large; only how often a picture comes back differs.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tinyvlm.data.single import Singles
from tinyvlm.encoders import normalise
from tinyvlm.encoders.resnet import ResNet, ResNetConfig
from tinyvlm.experiments.verdicts import Claim
from tinyvlm.metrics.classification import accuracy
from tinyvlm.models.vit import ViT, ViTOutput, ViTTask
from tinyvlm.training import Optimiser, Schedule, Stage, fit

Metrics = dict[str, float]

CLASSES = 375  # noun ids; 315 of them occur in training


class CNN(nn.Module):
    """The opponent: a small residual network, its grid averaged, a linear head that starts at zero, as ViT's does."""

    def __init__(self, classes: int, image_size: int):
        super().__init__()
        config = ResNetConfig.named("micro", image_size=image_size)
        self.tower = ResNet(config)
        self.head = nn.Linear(config.width, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, image: Float[Tensor, "b c size size"]) -> ViTOutput:
        grid = self.tower(image).flatten(2).transpose(1, 2)
        features = grid.mean(1)
        return ViTOutput(grid, features, self.head(features))


def pixels(size: str) -> int:
    """Side of the pictures that a model size reads."""
    side: int = ViT.Config.named(size).tower.image_size
    return side


def network(name: str, size: str = "micro") -> nn.Module:
    """`ViT`, or the opponent of equal size, `CNN`; and ViT's variants, each with one thing changed."""
    changes: dict[str, dict[str, Any]] = {"ViT": {}, "ViT, mean pooling": {"pool": "mean"}}
    if name == "CNN":
        return CNN(CLASSES, pixels(size))
    if name not in changes:
        raise ValueError(f"week 2 has no network {name!r}; choose from {', '.join(['CNN', *changes])}")
    return ViT.named(size, classes=CLASSES, **changes[name])


@dataclass(frozen=True)
class Budget:
    """What a preset spends: updates of each network, pictures of the three training sets, pictures measured."""

    size: str
    batch: int
    steps: int
    pictures: tuple[int, int, int]
    measured: int


BUDGETS = {
    "smoke": Budget("micro", batch=32, steps=20, pictures=(64, 128, 256), measured=64),
    "cpu": Budget("micro", batch=128, steps=600, pictures=(1_000, 8_000, 64_000), measured=2_000),
    "gpu": Budget("small", batch=512, steps=4000, pictures=(4_000, 64_000, 1_000_000), measured=4_000),
}
ARMS = ("little data", "more data", "much data")


def budget(preset: str) -> Budget:
    """The preset's budget; TINYVLM_SIZE in the environment asks for another model size."""
    chosen = BUDGETS[preset]
    size = os.environ.get("TINYVLM_SIZE") or chosen.size
    ViT.Config.named(size)
    return replace(chosen, size=size)


def recipe(pictures: Singles, examples: int, steps: int, batch: int, lr: float = 1e-3) -> list[Stage]:
    """AdamW, warm-up, cosine; gradient clipping at 1, as in the paper's table 3."""
    schedule = Schedule(warmup=min(50, max(1, steps // 4)), kind="cosine", floor=0.02)
    optimiser = Optimiser(lr=lr, betas=(0.9, 0.999), weight_decay=0.05)
    source = pictures.source(batch, examples=examples)
    return [Stage("classify", steps, source, optimisers=(optimiser,), schedule=schedule)]


@torch.no_grad()
def evaluate(model: nn.Module, seed: int, size: int, pictures: int, chunk: int = 500) -> float:
    """Top-1 accuracy on pictures that no training set holds."""
    model.eval()
    view, logits, labels = Singles("val", seed=seed, size=size), [], []
    for start in range(0, pictures, chunk):
        batch = view.batch(range(start, min(pictures, start + chunk)))
        logits.append(model(normalise(batch["image"])).logits)
        labels.append(batch["label"])
    return accuracy(torch.cat(logits), torch.cat(labels))


def train(
    name: str, examples: int, seed: int, budget: Budget, progress: str | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> nn.Module:  # fmt: skip
    """One network from scratch on `examples` pictures. The seed sets the weights and the pictures."""
    torch.manual_seed(seed)
    model = network(name, budget.size)
    stages = recipe(Singles("train", seed=seed, size=pixels(budget.size)), examples, budget.steps, budget.batch)
    fit(ViTTask(model), stages, seed=seed, progress=progress, on_step=on_step)
    return model


def run_arm(arm: str, seed: int, preset: str, progress: Callable[[int, int], None] | None = None) -> Metrics:
    """One job of the claims' queue: both networks on one training set."""
    if arm not in ARMS:
        raise ValueError(f"week 2 has no arm {arm!r}; choose from {', '.join(ARMS)}")
    spent = BUDGETS[preset]
    examples, found = spent.pictures[ARMS.index(arm)], {}
    for turn, name in enumerate(("ViT", "CNN")):
        report = partial(_half, progress, turn) if progress else None
        model = train(name, examples, seed, spent, on_step=report)
        found[name] = evaluate(model, seed, pixels(spent.size), spent.measured)
    return {**found, "gap": found["CNN"] - found["ViT"]}


def _half(progress: Callable[[int, int], None], turn: int, done: int, total: int) -> None:
    """Two trainings of one job as one count."""
    progress(done + turn * total, 2 * total)


def settings(arm: str, preset: str) -> dict[str, object]:
    """What an arm spends, kept with its result."""
    return {**asdict(BUDGETS[preset]), "arm": arm}


def canary() -> list[float]:
    """Losses of 20 seeded updates of the smoke budget."""
    torch.manual_seed(0)
    stages = recipe(Singles("train"), 256, 20, BUDGETS["smoke"].batch)
    return fit(ViTTask(network("ViT")), stages, seed=0, progress=None, device="cpu").loss


def _gap(arms: Mapping[str, Mapping[str, float]]) -> float:
    return arms["little data"]["gap"] - arms["much data"]["gap"]


CLAIMS = (
    Claim(
        id="data",
        week=2,
        kind="headline",
        statement="The lead of a small CNN over a ViT of equal size shrinks as data grows: with equal updates it is "
        "larger on the smallest training set than on the largest.",
        metric="gap",
        arms=ARMS,
        difference=_gap,
    ),
)
