"""An image as a row of tokens (ViT, section 3.1)."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


class PatchEmbedding(nn.Module):
    """Cut [b, c, H, W] into squares of `patch` pixels and project each: [b, (H/patch) * (W/patch), width], row by row.

    Written as the convolution that papers and checkpoints write, kernel equal to stride: the same sum as cutting and
    multiplying, without a cut copy of the picture.
    """

    def __init__(self, patch: int, width: int, channels: int = 3, bias: bool = True):
        super().__init__()
        self.patch = patch
        self.weight = nn.Parameter(torch.empty(width, channels, patch, patch))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None
        nn.init.trunc_normal_(self.weight, std=(channels * patch * patch) ** -0.5)

    def forward(self, image: Float[Tensor, "b c height image_width"]) -> Float[Tensor, "b n width"]:
        return rearrange(F.conv2d(image, self.weight, self.bias, stride=self.patch), "b w y x -> b (y x) w")
