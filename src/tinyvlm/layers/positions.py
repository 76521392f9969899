"""Where a token stands: learned position tables and their resizing, and biases on attention by relative position."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

# Position of the first token: one for all rows, or one per row.
Start = int | Int[Tensor, " b"]


class Positions(nn.Module):
    """A learned vector per position, added to tokens [b, n, w], the first of which stands at position `start`."""

    def __init__(self, length: int, width: int, std: float = 0.02):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(length, width))
        nn.init.normal_(self.weight, std=std)

    def forward(self, x: Float[Tensor, "b n w"], start: Start = 0) -> Float[Tensor, "b n w"]:
        count, held = x.shape[1], self.weight.shape[0]
        # On a GPU reading the largest start would stall the stream at every step.
        last = start if isinstance(start, int) else int(start.amax()) if start.device.type == "cpu" else 0
        if last + count > held:
            raise ValueError(f"Positions: {last + count} positions asked, the table holds {held}; shorten the input")
        if isinstance(start, int):
            return x + self.weight[start : start + count]
        return x + self.weight[start[:, None] + torch.arange(count, device=start.device)]


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


class RelativePositions(nn.Module):
    """A bias per head for each offset between two patches of a square picture (BEiT, after Shaw et al. 2018).

    `relative()` is [1, heads, n, n] over `side * side` patches, row by row, to be handed to attention as `bias`. With
    `class_token` the first of the `n` tokens is the class token, and the table's last three rows are those of the pairs
    (class, patch), (patch, class) and (class, class). The table starts at 0.
    """

    index: Tensor

    def __init__(self, side: int, heads: int, class_token: bool = True):
        super().__init__()
        offsets = (2 * side - 1) ** 2
        self.table = nn.Parameter(torch.zeros(offsets + 3 * class_token, heads))
        # Explicitly on the CPU: a model that is built on the meta device before it is loaded has to know it too.
        place = torch.arange(side * side, device="cpu")
        row, column = place // side, place % side
        down, right = (one[:, None] - one + side - 1 for one in (row, column))
        index = F.pad(down * (2 * side - 1) + right, (int(class_token), 0, int(class_token), 0))
        if class_token:
            index[0, 1:], index[1:, 0], index[0, 0] = offsets, offsets + 1, offsets + 2
        self.register_buffer("index", index, persistent=False)

    def forward(self) -> Float[Tensor, "1 heads n n"]:
        return rearrange(self.table[self.index], "q k heads -> 1 heads q k")


class RelativeBuckets(nn.Module):
    """T5's bias per head for how far a key lies from the query, in buckets (Raffel et al. 2019, section 2.1).

    Half of the buckets hold one distance each, the other half grow with its logarithm up to `furthest`, beyond which
    all distances share the last. `both_ways` gives keys behind the query buckets of their own (an encoder); else they
    share that of distance 0 (a decoder, which masks them). The table starts at 0.
    """

    def __init__(self, heads: int, buckets: int = 32, furthest: int = 128, both_ways: bool = True):
        super().__init__()
        exact = buckets // (4 if both_ways else 2)
        if not 0 < exact < furthest:
            raise ValueError(
                f"RelativeBuckets: {buckets} buckets hold {exact} distances singly, and the furthest is {furthest}; "
                "let them hold at least 1 and fewer than that"
            )
        self.buckets, self.furthest, self.both_ways = buckets, furthest, both_ways
        self.table = nn.Parameter(torch.zeros(buckets, heads))

    def forward(self, queries: int, keys: int, start: Start | None = None) -> Float[Tensor, "b heads queries keys"]:
        """The bias of `queries` positions from `start` on (by default the last of the keys) towards `keys` from 0 on.

        The batch axis is 1 unless `start` is one per row.
        """
        device = self.table.device
        first = torch.as_tensor(keys - queries if start is None else start, device=device).reshape(-1, 1, 1)
        query = first + torch.arange(queries, device=device)[:, None]
        bucket = self.bucket(torch.arange(keys, device=device) - query)
        return rearrange(self.table[bucket], "b q k heads -> b heads q k")

    def bucket(self, offset: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
        """Bucket of each offset, key minus query."""
        if self.both_ways:
            count = self.buckets // 2
            first, distance = count * (offset > 0), offset.abs()
        else:
            count = self.buckets
            first, distance = torch.zeros_like(offset), (-offset).clamp_min(0)
        exact = count // 2
        # In float32 and in this order, as official weights were trained: at a bucket's edge rounding decides.
        growth = torch.log(distance.float() / exact) / math.log(self.furthest / exact) * (count - exact)
        far = (exact + growth.clamp_min(0).long()).clamp_max(count - 1)
        return first + torch.where(distance < exact, distance, far)
