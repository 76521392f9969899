"""Masked image modelling (Bao et al., arXiv 2106.08254): which patches are hidden, and what stands there.

Masks are bool [b, n], True where a patch is hidden, patches row by row. All draws come from an rng on the CPU.
"""

import math

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

ATTEMPTS = 10  # tries to place one block, as in the official code


def _check(count: int, side: int) -> None:
    if not 0 < count <= side * side:
        raise ValueError(f"{count} patches of {side * side} are to be hidden; hide at least 1 and at most all")


def random_mask(batch: int, side: int, count: int, rng: torch.Generator) -> Bool[Tensor, "b n"]:
    """In each picture of `side * side` patches exactly `count` are hidden, anywhere."""
    _check(count, side)
    place = torch.rand(batch, side * side, generator=rng).argsort(1)[:, :count]
    return torch.zeros(batch, side * side, dtype=torch.bool).scatter_(1, place, True)


def blockwise_mask(
    batch: int,
    side: int,
    count: int,
    rng: torch.Generator,
    least: int = 16,
    aspects: tuple[float, float] = (0.3, 1 / 0.3),
) -> Bool[Tensor, "b n"]:
    """Blocks are hidden until `count` patches are, or no further block fits, as in the official code.

    A block's area is uniform between `least` and what is still to be hidden, its height / width log-uniform in
    `aspects`, its place uniform. A block that would hide more than is left, or nothing new, is drawn again, at most ten
    times. So a mask never exceeds `count` and may fall short of it: pictures differ in how many patches they hide.
    """
    _check(count, side)
    masks = torch.zeros(batch, side, side, dtype=torch.bool)
    for mask in masks:
        left = count
        while left > 0:
            added = _add_block(mask, least, left, aspects, rng)
            if not added:
                break
            left -= added
    return rearrange(masks, "b y x -> b (y x)")


def _add_block(
    mask: Bool[Tensor, "side side"], least: int, left: int, aspects: tuple[float, float], rng: torch.Generator
) -> int:
    """Hide one more block in place. Returns how many patches it hid, 0 when every try failed."""
    side, low, high = len(mask), math.log(aspects[0]), math.log(aspects[1])
    for area, aspect, down, right in torch.rand(ATTEMPTS, 4, generator=rng).tolist():
        area = least + area * (left - least)
        aspect = math.exp(low + aspect * (high - low))
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if not (0 < height < side and 0 < width < side):
            continue
        top, start = int(down * (side - height + 1)), int(right * (side - width + 1))
        block = mask[top : top + height, start : start + width]
        new = height * width - int(block.sum())
        if 0 < new <= left:
            block.fill_(True)
            return new
    return 0


def patch_pixels(
    image: Float[Tensor, "b c size size"], patch: int, normalised: bool = False, eps: float = 1e-6
) -> Float[Tensor, "b n pixels"]:
    """The pixels of each patch, row by row: what a model without a tokenizer has to predict.

    `normalised`: each patch has mean 0 and variance 1, as in MAE (He et al., arXiv 2111.06377).
    """
    pixels = rearrange(image, "b c (y i) (x j) -> b (y x) (i j c)", i=patch, j=patch)
    if not normalised:
        return pixels
    return (pixels - pixels.mean(-1, keepdim=True)) / (pixels.var(-1, keepdim=True) + eps).sqrt()
