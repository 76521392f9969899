"""Few labels: pictures of each noun, scenes whose patches have a class, and a probe of patches.

All come from the course's scenes, so that a network that was trained on scenes sees nothing new but labels. A patch
has the class that most of its pixels have.
"""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import ArrayLike
from torch import Tensor

from tinyvlm.data.regions import semantic_mask
from tinyvlm.data.scenes import SceneSpec, pool
from tinyvlm.data.views import Batch, View, as_indices
from tinyvlm.data.world import World
from tinyvlm.encoders import normalise
from tinyvlm.experiments.pretrain import single_sprites
from tinyvlm.experiments.readout import ridge
from tinyvlm.metrics.segmentation import mean_iou
from tinyvlm.models.beit import BEiT
from tinyvlm.models.task import Batch as Tensors
from tinyvlm.models.task import Task, Term
from tinyvlm.objectives.patch_masking import random_mask

LOOKED_AT = 64  # single sprites drawn for each noun, from which the different ones are taken


class Labelled(View):
    """Exactly `each` different pictures of every noun of `spec`, one object on its plate: `image` and `label`.

    ValueError where the split does not have so many different ones among the first draws.
    """

    def __init__(self, spec: SceneSpec, each: int, seed: int, size: int):
        nouns = len(pool(spec, "train"))
        drawn = single_sprites(spec, "train", seed, size)(np.arange(LOOKED_AT * nouns))
        seen: set[int] = set()
        rows: list[list[int]] = [[] for _ in range(nouns)]
        for row, (label, content) in enumerate(zip(drawn["label"].tolist(), drawn["content"].tolist(), strict=True)):
            if content not in seen and len(rows[label]) < each:
                seen.add(content)
                rows[label].append(row)
        fewest = min(map(len, rows))
        if fewest < each:
            raise ValueError(
                f"Labelled: {each} different pictures a noun are asked for, and a noun has {fewest}; ask for fewer"
            )
        chosen = torch.tensor(rows).flatten()
        self.examples = {key: drawn[key][chosen] for key in ("image", "label")}

    def __len__(self) -> int:
        return len(self.examples["label"])

    def batch(self, indices: ArrayLike) -> Batch:
        """image uint8 [B,3,size,size]; label int64 [B], the noun's place among the spec's nouns."""
        index = torch.from_numpy(as_indices(indices))
        return {key: values[index] for key, values in self.examples.items()}


def scenes_with_classes(spec: SceneSpec, split: str, seed: int, size: int, count: int) -> tuple[Tensor, Tensor]:
    """`count` scenes and the class of each pixel: image uint8 [B,3,s,s]; int64 [B,s,s], 0 where there is no object,
    else the noun's place among the spec's nouns, from 1 on."""
    world = World(split, seed=seed, spec=replace(spec, relations=0.0), size=size)
    index, nouns = np.arange(count), pool(spec, split)
    place = torch.zeros(int(nouns.max()) + 2, dtype=torch.int64)
    place[torch.from_numpy(nouns) + 1] = torch.arange(1, len(nouns) + 1)
    return world.batch(index)["image"], place[semantic_mask(world.scenes(index), size)]


def patch_classes(classes: Int[Tensor, "b s s"], patch: int) -> Int[Tensor, "b n"]:
    """The most frequent class of each patch's pixels, row by row."""
    cut = rearrange(classes, "b (y i) (x j) -> b (y x) (i j)", i=patch, j=patch)
    return cut.mode(-1).values


class LabelledScenes(View):
    """`count` scenes of a split and the noun of each patch: `image`, and `nouns` int64 [B, patches], the noun's place
    among the spec's nouns, -1 where most pixels show no object."""

    def __init__(self, spec: SceneSpec, split: str, seed: int, size: int, patch: int, count: int):
        image, classes = scenes_with_classes(spec, split, seed, size, count)
        self.examples = {"image": image, "nouns": patch_classes(classes, patch) - 1}

    def __len__(self) -> int:
        return len(self.examples["nouns"])

    def batch(self, indices: ArrayLike) -> Batch:
        """image uint8 [B,3,size,size]; nouns int64 [B, patches]."""
        index = torch.from_numpy(as_indices(indices))
        return {key: values[index] for key, values in self.examples.items()}


class HiddenNounTask(Task):
    """Naming the object behind each hidden patch, from labels. The head of `model` has an output for each noun."""

    model: BEiT

    def __init__(self, model: BEiT, count: int):
        super().__init__()
        self.model, self.count = model, count

    def prepare(self, batch: Tensors, rng: torch.Generator) -> Tensors:
        """Adds `hidden` bool [b, p]: `count` patches of each picture, drawn at random."""
        ready = {**super().prepare(batch, rng)}
        hidden = random_mask(len(ready["image"]), self.model.side, self.count, rng)
        return {**ready, "hidden": hidden.to(ready["image"].device)}

    def forward(self, batch: Tensors) -> dict[str, Term]:
        nouns, logits = named_patches(self.model, batch["image"], batch["hidden"], batch["nouns"])
        return {"hidden_nouns": Term.of(F.cross_entropy(logits, nouns, reduction="none"))}


def named_patches(
    model: BEiT, image: Float[Tensor, "b c s s"], hidden: Bool[Tensor, "b p"], nouns: Int[Tensor, "b p"]
) -> tuple[Int[Tensor, " m"], Float[Tensor, "m nouns"]]:
    """True nouns and logits of the hidden patches that show an object."""
    true = nouns[hidden]
    return true[true >= 0], model(image, hidden).logits[true >= 0]


def spread(classes: Int[Tensor, "b n"], size: int) -> Int[Tensor, "b size size"]:
    """Every pixel has its patch's class."""
    side = round(classes.shape[1] ** 0.5)
    grid = rearrange(classes, "b (y x) -> b y x", y=side)
    return grid.repeat_interleave(size // side, 1).repeat_interleave(size // side, 2)


@torch.inference_mode()
def patch_tokens(model: BEiT, image: UInt8[Tensor, "b c s s"], chunk: int = 128) -> Float[Tensor, "b n width"]:
    """Last tokens of the patches, nothing hidden."""
    found = []
    for part in image.split(chunk):
        nothing = torch.zeros(len(part), model.side**2, dtype=torch.bool, device=model.device)
        found.append(model(normalise(part.to(model.device)), nothing).tokens[:, model.first_patch :].cpu())
    return torch.cat(found)


def dense_probe(model: BEiT, spec: SceneSpec, seed: int, measured: int) -> dict[str, float]:
    """A linear layer on frozen patch tokens says each patch's class: mean IoU over background and nouns, by pixel.

    It learns from a quarter as many scenes as it is measured on. "mIoU, ideal" is that of every patch's true class,
    the most that square patches can reach.
    """
    nouns = len(pool(spec, "train"))
    size, patch = model.config.tower.image_size, model.config.tower.patch
    known, classes = scenes_with_classes(spec, "train", seed, size, measured // 4)
    shown, truth = scenes_with_classes(spec, "val", seed, size, measured)
    labels = patch_classes(classes, patch).flatten()
    tokens = [patch_tokens(model, image) for image in (known, shown)]
    guess = ridge(tokens[0].flatten(0, 1), labels, tokens[1].flatten(0, 1)).view(len(shown), -1)
    ideal = patch_classes(truth, patch)
    return {
        "mIoU": mean_iou(spread(guess, size), truth, nouns + 1),
        "mIoU, ideal": mean_iou(spread(ideal, size), truth, nouns + 1),
        "patches": (guess == ideal)[ideal > 0].double().mean().item(),
    }
