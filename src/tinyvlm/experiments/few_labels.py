"""A few labelled pictures of each noun, and patches with the class that most of their pixels have.

Both come from the course's scenes, so that a network that was trained on scenes meets nothing new but labels.
"""

from dataclasses import replace

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Int
from numpy.typing import ArrayLike
from torch import Tensor

from tinyvlm.data.regions import semantic_mask
from tinyvlm.data.scenes import SceneSpec, pool
from tinyvlm.data.views import Batch, View, as_indices
from tinyvlm.data.world import World
from tinyvlm.experiments.pretrain import single_sprites

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


def spread(classes: Int[Tensor, "b n"], size: int) -> Int[Tensor, "b size size"]:
    """Every pixel has its patch's class."""
    side = round(classes.shape[1] ** 0.5)
    grid = rearrange(classes, "b (y x) -> b y x", y=side)
    return grid.repeat_interleave(size // side, 1).repeat_interleave(size // side, 2)
