"""The residual network as a tower: pictures in, a grid of features out (He et al. 2015, arXiv 1512.03385, table 1).

Pixel-BERT reads pictures with it, and week 2 holds ViT against it. Deviation from the paper, as in every library since:
in a bottleneck the stride sits on the 3x3 convolution ("v1.5").
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tinyvlm.config import Config
from tinyvlm.encoders.vision import check_images


@dataclass(frozen=True)
class ResNetConfig(Config):
    """`widths` are the stages' inner widths; a bottleneck puts out four times as much. `stem` is the first width.

    `small_stem` is one 3x3 convolution of stride 2, for pictures of a few dozen pixels; otherwise 7x7 of stride 2 and
    a max pool. Every stage but the first halves the picture. `micro` and `small` are as large as ViT's, head included.
    """

    image_size: int = 224
    channels: int = 3
    stem: int = 64
    small_stem: bool = False
    depths: tuple[int, ...] = (3, 4, 6, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    bottleneck: bool = True

    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "micro": {
            "image_size": 48,
            "stem": 24,
            "small_stem": True,
            "depths": (1, 1, 1, 1),
            "widths": (24, 48, 96, 166),
            "bottleneck": False,
        },
        "small": {
            "image_size": 64,
            "stem": 64,
            "small_stem": True,
            "depths": (1, 1, 1, 1),
            "widths": (64, 128, 256, 500),
            "bottleneck": False,
        },
        "ResNet-18": {"depths": (2, 2, 2, 2), "bottleneck": False},
        "ResNet-50": {},
        "ResNet-101": {"depths": (3, 4, 23, 3)},
    }

    @property
    def width(self) -> int:
        """Channels of the output."""
        return self.widths[-1] * (4 if self.bottleneck else 1)


class ResidualUnit(nn.Module):
    """relu(shortcut(x) + branch(x)); the branch is two 3x3 convolutions, or 1x1, 3x3, 1x1 (a bottleneck)."""

    def __init__(self, into: int, width: int, stride: int, bottleneck: bool):
        super().__init__()
        out = 4 * width if bottleneck else width
        shapes = [(into, width, 1, 1), (width, width, 3, stride), (width, out, 1, 1)]
        if not bottleneck:
            shapes = [(into, width, 3, stride), (width, width, 3, 1)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, size, step, size // 2, bias=False) for a, b, size, step in shapes
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for _, b, _, _ in shapes)
        self.shortcut = (
            nn.Identity()
            if into == out and stride == 1
            else nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        y = x
        for depth, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            y = norm(convolution(y))
            if depth + 1 < len(self.norms):
                y = F.relu(y)
        return F.relu(self.shortcut(x) + y)


class ResNet(nn.Module):
    def __init__(self, config: ResNetConfig):
        super().__init__()
        self.config = config
        size = 3 if config.small_stem else 7
        self.stem = nn.Conv2d(config.channels, config.stem, size, 2, size // 2, bias=False)
        self.stem_norm = nn.BatchNorm2d(config.stem)
        self.pool = nn.Identity() if config.small_stem else nn.MaxPool2d(3, 2, 1)
        stages, into = [], config.stem
        for number, (depth, width) in enumerate(zip(config.depths, config.widths, strict=True)):
            units = []
            for place in range(depth):
                units.append(ResidualUnit(into, width, 2 if number and not place else 1, config.bottleneck))
                into = width * (4 if config.bottleneck else 1)
            stages.append(nn.Sequential(*units))
        self.stages = nn.Sequential(*stages)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Float[Tensor, "b channels size size"]) -> Float[Tensor, "b width rows columns"]:
        """The last stage's grid: with four stages at stride 32, or 16 with `small_stem`, rounded up."""
        check_images(image, self.config.image_size, self.config.channels)
        return self.stages(self.pool(F.relu(self.stem_norm(self.stem(image)))))


def count(config: ResNetConfig) -> int:
    """Parameters of a trunk, counted without memory."""
    with torch.device("meta"):
        return sum(p.numel() for p in ResNet(config).parameters())
