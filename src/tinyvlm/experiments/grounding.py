"""From a word to a region: where a caption's words look in the picture, and whether nouns look at their objects.

The paper reads regions off the cross-attention of a model trained without boxes (figures 4 to 6). Our captions name
places, so the model is told them in words. The scenes know their cells, and the hits can be counted: does a noun's
highest patch lie in its own quarter of the picture?
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.scenes import Scenes
from tinyvlm.data.tokenizer import load_tokenizer
from tinyvlm.data.world import World
from tinyvlm.encoders import normalise
from tinyvlm.layers import record_attention
from tinyvlm.metrics.attention import grad_cam
from tinyvlm.models.albef import ALBEF

Batch = dict[str, Tensor]

METHODS = ("attention", "grad-cam")
CELLS = 4


def word_maps(model: ALBEF, batch: Batch, method: str = "attention") -> Float[Tensor, "layers b n patches"]:
    """A map over the patches for each word of each caption of a batch, by fusion layer.

    "attention" is the weight that cross-attention gives to a patch, mean over the heads; "grad-cam" what of it raised
    the matching score. A class token is left out, so that attention need not add up to 1. ValueError: another method.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; choose from {', '.join(METHODS)}")
    device, vision, graph = model.temperature.device, model.config.vision, method == "grad-cam"
    image, text, mask = (batch[key].to(device) for key in ("image", "text", "text_mask"))
    with torch.set_grad_enabled(graph), record_attention(model.fusion, graph=graph) as maps:
        score = model(normalise(image), text, mask).score
        cross = [recorded[0] for name, recorded in maps.items() if ".cross." in name]
        layers = [grad_cam(weights, score) if graph else weights.mean(1) for weights in cross]
    return torch.stack(layers)[..., -((vision.image_size // vision.patch) ** 2) :].cpu()


def noun_words(scenes: Scenes, text: Int[Tensor, "b n"]) -> tuple[Int[Tensor, "b 4"], Bool[Tensor, "b 4"]]:
    """For each cell of each scene the place of its noun in the caption, and whether the caption names it (once)."""
    tokenizer, names = load_tokenizer(), load_emoji().names("en")
    noun = scenes.noun.astype(np.int64)
    ids = {n: tokenizer.id(names[n]) for n in np.unique(noun[noun >= 0]).tolist()}
    token = torch.tensor([[ids.get(n, -1) for n in row] for row in noun.tolist()]).reshape(-1, CELLS)
    named = token.unsqueeze(-1) == text.unsqueeze(1)
    return named.int().argmax(-1), named.sum(-1) == 1


def patch_cells(side: int) -> Int[Tensor, " patches"]:
    """The cell that each patch of a square grid lies in, row by row: 0 top left, 1 top right, 2 and 3 below.

    ValueError for an odd side, whose middle patches lie in several.
    """
    if side % 2:
        raise ValueError(
            f"a grid of {side} by {side} patches has no quarters: choose a patch size that gives an even side"
        )
    half = torch.arange(side) // (side // 2)
    return (2 * half[:, None] + half[None, :]).flatten()


def hits(maps: Float[Tensor, "... patches"], cells: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
    """1 where a map is highest within its cell, else 0; patches that tie share the point.

    Known answer: a map that is the same everywhere, or 0, gets 0.25.
    """
    highest = maps == maps.amax(-1, keepdim=True)
    own = patch_cells(round(maps.shape[-1] ** 0.5)) == cells.unsqueeze(-1)
    return (highest & own).sum(-1) / highest.sum(-1)


def pointing(model: ALBEF, world: World, scenes: int = 256, method: str = "attention", chunk: int = 64) -> list[float]:
    """The pointing game: share of nouns whose highest patch lies in the noun's own cell, by fusion layer.

    All nouns of the scenes 0 to `scenes` - 1 of `world` count that their caption names once. Chance is 0.25, but with n
    objects a map that finds *an* object, whichever the noun, gets 1 / n: scenes of two make that one half. ValueError
    when no noun counts.
    """
    found = []
    for start in range(0, scenes, chunk):
        index = np.arange(start, min(scenes, start + chunk))
        batch = world.batch(index)
        word, named = noun_words(world.scenes(index), batch["text"])
        row, cell = named.nonzero(as_tuple=True)
        maps = word_maps(model, batch, method)
        found.append(hits(maps[:, row, word[row, cell]], cell))
    points = torch.cat(found, dim=1)
    if points.shape[1] == 0:
        raise ValueError(
            f"none of the {scenes} captions names an object of its scene, so that there is nothing to point at"
        )
    return points.double().mean(1).tolist()
