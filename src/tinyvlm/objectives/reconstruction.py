"""Masked image modelling on pixels (SimMIM, Xie et al., arXiv 2111.09886): which patches are hidden, and the loss.

MaskVLM hides blocks of several patches and averages |error| over the hidden pixels (arXiv 2208.02131).
"""

import math

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor


def hidden_blocks(
    count: int, image_size: int, patch: int, block: int, share: float, rng: torch.Generator
) -> Bool[Tensor, "count patches"]:
    """Patches to hide in `count` pictures, True = hidden, row by row.

    The picture is cut into squares of `block` pixels. Of these ceil(share * blocks) are drawn at random, and every
    patch of a drawn square is hidden. Sizes in pixels. All draws come from `rng`, on the CPU.

    Raises ValueError when patches do not fill a block, or blocks the picture, and for a share outside 0 to 1.
    """
    if block % patch or image_size % block:
        raise ValueError(
            f"hidden_blocks: blocks of {block} px neither hold whole patches of {patch} px nor fill {image_size} px; "
            "choose a multiple of the patch that divides the picture"
        )
    if not 0 <= share <= 1:
        raise ValueError(f"hidden_blocks: share is {share}; it is a part from 0 (nothing hidden) to 1 (all)")
    side, inside = image_size // block, block // patch
    # Rounded first: 0.3 * 10 is a little more than 3 in floating point.
    most = math.ceil(round(share * side**2, 6))
    rank = torch.rand(count, side**2, generator=rng).argsort(1).argsort(1)
    grid = rearrange(rank < most, "b (y x) -> b y x", y=side)
    return grid.repeat_interleave(inside, 1).repeat_interleave(inside, 2).flatten(1)


def patchify(image: Float[Tensor, "b c size size"], patch: int) -> Float[Tensor, "b patches values"]:
    """The pixel values of each patch in one row, patches row by row: what a linear layer is to predict."""
    return rearrange(image, "b c (y p) (x q) -> b (y x) (p q c)", p=patch, q=patch)


def unpatchify(values: Float[Tensor, "b patches values"], patch: int) -> Float[Tensor, "b c size size"]:
    """The picture of such rows."""
    side = math.isqrt(values.shape[1])
    return rearrange(values, "b (y x) (p q c) -> b c (y p) (x q)", y=side, x=side, p=patch, q=patch)


def pixel_loss(
    predicted: Float[Tensor, "m values"], target: Float[Tensor, "m values"], power: int = 1
) -> Float[Tensor, " m"]:
    """Mean of |error|^power over the pixel values of each hidden patch: L1 with 1 (the papers), L2 with 2.

    Patches are equally large, so the mean over patches is the mean over hidden pixels. Known answers: the best
    constant is the median of the targets under L1, and their mean under L2.
    """
    return (predicted - target).abs().pow(power).mean(-1)
