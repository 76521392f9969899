"""An image as a row of tokens (ViT, section 3.1)."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


class PatchEmbedding(nn.Module):
    """Cut [b, c, H, W] into squares of `patch` pixels and project each: [b, (H/patch) * (W/patch), width], row by row.

    The weight has a convolution's shape, as in every published checkpoint; cutting and multiplying is the same sum
    and at these sizes the faster one on a CPU.
    """

    def __init__(self, patch: int, width: int, channels: int = 3, bias: bool = True):
        super().__init__()
        self.patch = patch
        self.weight = nn.Parameter(torch.empty(width, channels, patch, patch))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None
        nn.init.trunc_normal_(self.weight, std=(channels * patch * patch) ** -0.5)

    def forward(self, image: Float[Tensor, "b c height image_width"]) -> Float[Tensor, "b n width"]:
        p = self.patch
        squares = rearrange(image, "b c (y p) (x q) -> b (y x) (c p q)", p=p, q=p)
        return F.linear(squares, self.weight.flatten(1), self.bias)
