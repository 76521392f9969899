"""Does a reconstruction follow its caption? One object is hidden, its noun in the caption exchanged, its place painted.

The painted cell is compared with the same cell as the scene shows it with each noun of the world, on the scene's own
plate and background. So the nearest of these says which noun was painted.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from tinyvlm.data.captions import captions, choose_phrasing
from tinyvlm.data.changes import change_scenes
from tinyvlm.data.render import render
from tinyvlm.data.scenes import Scenes, pool
from tinyvlm.data.views import encode
from tinyvlm.data.world import World
from tinyvlm.encoders import normalise
from tinyvlm.experiments.grounding import patch_cells

# (image uint8 [b, 3, s, s], hidden bool [b, patches], text [b, n], mask [b, n]) -> pictures in -1..1 [b, 3, s, s]
Paint = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass
class Edits:
    """Scenes with one noun exchanged in the caption. `old` and `new` are places in `nouns`, the world's noun ids."""

    image: UInt8[Tensor, "b 3 size size"]
    text: Int[Tensor, "b n"]
    text_mask: Bool[Tensor, "b n"]
    edited: Int[Tensor, "b n"]
    edited_mask: Bool[Tensor, "b n"]
    captions: list[str]
    edited_captions: list[str]
    cell: Int[Tensor, " b"]
    nouns: Int[Tensor, " nouns"]
    old: Int[Tensor, " b"]
    new: Int[Tensor, " b"]
    scenes: Scenes

    def hidden(self, side: int) -> Bool[Tensor, "b patches"]:
        """The patches of the exchanged object's cell, in a grid of `side` by `side` patches."""
        return patch_cells(side) == self.cell[:, None]

    def candidates(self, rows: slice = slice(None)) -> UInt8[Tensor, "b nouns 3 half half"]:
        """The exchanged object's cell with each noun of the world in it."""
        scenes, cell, size = self.scenes[rows], self.cell[rows], self.image.shape[-1]
        index, shown = np.arange(len(scenes)), []
        for noun in self.nouns.tolist():
            changed = scenes.noun.copy()
            changed[index, cell.numpy()] = noun
            shown.append(cut_cell(render(replace(scenes, noun=changed), size), cell))
        return torch.stack(shown, 1)


def cut_cell(image: Tensor, cell: Int[Tensor, " b"]) -> Tensor:
    """The quarter of each picture that is called `cell`: [b, 3, size / 2, size / 2]."""
    quarters = rearrange(image, "b c (y h) (x w) -> b (y x) c h w", y=2, x=2)
    return quarters[torch.arange(len(image)), cell]


def edits(world: World, count: int) -> Edits:
    """The first `count` scenes of `world`, each with one noun of its caption exchanged for another of the world's.

    The exchange is the single change "object" of the red thread: the new noun is not in the scene. ValueError when a
    scene admits none.
    """
    scenes, ids = world.scenes(np.arange(count)), pool(world.spec, world.split)
    changed, admitted = change_scenes(scenes, "object")
    if not admitted.all():
        raise ValueError(f"scene {int(np.flatnonzero(~admitted)[0])} admits no other noun; give the world more nouns")
    place = np.full(int(ids.max()) + 1, -1)
    place[ids] = np.arange(len(ids))
    phrasing, rows = choose_phrasing(scenes), np.arange(count)
    cell = (scenes.noun != changed.noun).argmax(1)
    lines = captions(scenes, world.language, phrasing), captions(changed, world.language, phrasing)
    (text, mask), (edited, edited_mask) = (encode(told, world.context) for told in lines)
    return Edits(
        image=render(scenes, world.size),
        text=text,
        text_mask=mask,
        edited=edited,
        edited_mask=edited_mask,
        captions=lines[0],
        edited_captions=lines[1],
        cell=torch.from_numpy(cell),
        nouns=torch.from_numpy(ids),
        old=torch.from_numpy(place[scenes.noun[rows, cell]]),
        new=torch.from_numpy(place[changed.noun[rows, cell]]),
        scenes=scenes,
    )


def paint(model: Any) -> Paint:
    """A model that reconstructs, as the function that `followed` asks for. Pictures return to the CPU."""

    def painted(image: Tensor, hidden: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        given = normalise(image.to(model.device)), *(one.to(model.device) for one in (hidden, text, mask))
        found: Tensor = model.reconstruct(*given)
        return found.cpu()

    return painted


def fill(
    image: UInt8[Tensor, "b 3 size size"], hidden: Bool[Tensor, "b patches"], painted: Float[Tensor, "b 3 size size"]
) -> tuple[Float[Tensor, "b 3 size size"], Float[Tensor, "b 3 size size"]]:
    """Pictures in 0..1 to look at: with the hidden patches grey, and with them as they were painted (-1..1)."""
    side = round(hidden.shape[1] ** 0.5)
    times = image.shape[-1] // side
    covered = hidden.view(-1, 1, side, side).repeat_interleave(times, 2).repeat_interleave(times, 3)
    shown = image / 255
    return torch.where(covered, 0.6, shown), torch.where(covered, (painted.clamp(-1, 1) + 1) / 2, shown)


def nearest(
    painted: Float[Tensor, "b 3 half half"], candidates: UInt8[Tensor, "b nouns 3 half half"]
) -> dict[str, Int[Tensor, " b"]]:
    """Which candidate each painted cell is nearest to, by two measures.

    "L2" is the distance of the pixels. "cosine" first takes the candidates' mean away from both, so that the length of
    what is left does not count: a faint sprite is still a sprite.
    """
    flat, shown = painted.flatten(1).unsqueeze(1), normalise(candidates.flatten(0, 1)).flatten(1)
    shown = shown.unflatten(0, candidates.shape[:2])
    middle = shown.mean(1, keepdim=True)
    cosines = torch.cosine_similarity(flat - middle, shown - middle, dim=-1)
    return {"L2": (flat - shown).pow(2).sum(-1).argmin(1), "cosine": cosines.argmax(1)}


@torch.inference_mode()
def followed(painter: Paint, world: World, side: int, count: int = 256, chunk: int = 64) -> dict[str, float]:
    """Shares of reconstructions that are nearest to a noun, by both measures of `nearest`.

    "edit followed": the edited caption was given, and the nearest noun is the new one. "old noun kept": the same
    pictures, and the nearest noun is the one that stood there. "true noun": the true caption was given. The model's
    pictures have `side` by `side` patches. Chance is 1 in as many nouns as the world has.
    """
    given = edits(world, count)
    hidden, right = given.hidden(side), {"edit followed": given.new, "old noun kept": given.old, "true noun": given.old}
    found: dict[str, list[Tensor]] = {}
    for start in range(0, count, chunk):
        rows = slice(start, start + chunk)
        candidates = given.candidates(rows)
        for told, text, mask in (
            (("edit followed", "old noun kept"), given.edited[rows], given.edited_mask[rows]),
            (("true noun",), given.text[rows], given.text_mask[rows]),
        ):
            cell = cut_cell(painter(given.image[rows], hidden[rows], text, mask), given.cell[rows])
            for measure, which in nearest(cell, candidates).items():
                for name in told:
                    found.setdefault(f"{name}, {measure}", []).append(which == right[name][rows])
    return {name: torch.cat(parts).double().mean().item() for name, parts in found.items()}
