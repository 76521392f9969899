"""Learned position tables, and their resizing to another picture size (ViT, section 3.2)."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


class Positions(nn.Module):
    """A learned vector per position, added to tokens [b, n, w]; `offset` is the position of the first token."""

    def __init__(self, length: int, width: int, std: float = 0.02):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(length, width))
        nn.init.normal_(self.weight, std=std)

    def forward(self, x: Float[Tensor, "b n w"], offset: int = 0) -> Float[Tensor, "b n w"]:
        end = offset + x.shape[1]
        if end > self.weight.shape[0]:
            raise ValueError(
                f"Positions: {end} positions asked, the table holds {self.weight.shape[0]}; shorten the input"
            )
        return x + self.weight[offset:end]


def resize_grid(table: Float[Tensor, "n w"], new_side: int, extra: int = 1) -> Float[Tensor, "m w"]:
    """A square grid's position table for another side length, by bicubic interpolation.

    The first `extra` rows (the class token's) belong to no place and stay as they are.
    """
    kept, grid = table[:extra], table[extra:]
    side = round(len(grid) ** 0.5)
    if side * side != len(grid):
        raise ValueError(f"resize_grid: {len(grid)} positions form no square; is `extra` ({extra}) right?")
    if side == new_side:
        return table
    picture = rearrange(grid, "(y x) w -> 1 w y x", y=side)
    resized = F.interpolate(picture.float(), size=(new_side, new_side), mode="bicubic", align_corners=False)
    return torch.cat([kept, rearrange(resized, "1 w y x -> (y x) w").to(table.dtype)])
