"""A picture tower's first lesson: naming single sprites, as the papers' towers come from ImageNet.

The pictures are scenes of one object on its plate, so that the tower has met what later surrounds it. Trials with bare
sprites on pale ground, as week 2 has them, did not carry over: the words of a scene then stayed unlearnt for minutes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tinyvlm.data.scenes import SceneSpec, pool
from tinyvlm.data.world import World
from tinyvlm.encoders import normalise
from tinyvlm.experiments.recipes import adamw, stage
from tinyvlm.models.vit import ViTTask
from tinyvlm.training import fit

Batch = dict[str, Tensor]
Report = Callable[[int, int], None]


@dataclass
class Named:
    logits: Float[Tensor, "b nouns"]


class Namer(nn.Module):
    """A tower, the mean of what it puts out (a grid or tokens), a linear layer."""

    def __init__(self, tower: nn.Module, width: int, nouns: int):
        super().__init__()
        self.tower, self.head = tower, nn.Linear(width, nouns)

    def forward(self, image: Float[Tensor, "b c size size"]) -> Named:
        out = self.tower(image)
        return Named(self.head(out.mean((2, 3)) if out.ndim == 4 else out.mean(1)))


def single_sprites(spec: SceneSpec, split: str, seed: int, size: int) -> Callable[[np.ndarray], Batch]:
    """Scenes of one object with `label`, the noun's place among the spec's nouns."""
    world = World(split, seed=seed, spec=replace(spec, objects=(1, 1), repeats=0.0, relations=0.0), size=size)
    nouns = pool(world.spec, split)
    place = np.full(int(nouns.max()) + 1, -1)
    place[nouns] = np.arange(len(nouns))

    def batch(indices: np.ndarray) -> Batch:
        drawn = world.batch(indices)
        return {**drawn, "label": torch.from_numpy(place[world.scenes(indices).noun.max(1)])}

    return batch


def name_sprites(
    tower: nn.Module,
    width: int,
    spec: SceneSpec,
    *,
    seed: int,
    size: int,
    steps: int,
    batch: int = 64,
    lr: float = 1e-3,
    measured: int = 512,
    progress: str | None = None,
    on_step: Report | None = None,
) -> float:
    """Train `tower` (its output is `width` wide) in place. Returns its accuracy on unseen single sprites."""
    draw = single_sprites(spec, "train", seed, size)
    namer = Namer(tower, width, len(pool(spec, "train")))

    def source(step: int, rank: int = 0, world: int = 1) -> Batch:
        share = batch // world
        return draw(step * batch + rank * share + np.arange(share))

    lesson = stage("name sprites", steps, source, adamw(lr, eps=1e-8), warmup=20)
    fit(ViTTask(namer), lesson, seed=seed, progress=progress, on_step=on_step)
    shown = single_sprites(spec, "val", 0, size)(np.arange(measured))
    device = next(namer.parameters()).device
    namer.eval()
    with torch.inference_mode():
        right = namer(normalise(shown["image"].to(device))).logits.argmax(1).cpu() == shown["label"]
    namer.train()
    return right.double().mean().item()
