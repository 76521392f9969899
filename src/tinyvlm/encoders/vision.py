"""The Vision Transformer as a tower: pictures in, tokens out (Dosovitskiy et al. 2020, section 3.1, eqs. 1-4).

ViT, CLIP, ALBEF, CoCa, GIT and PaLI share it; they differ in the class token, the norm before the blocks, biases, eps
and the activation. Heads and poolers belong to the models.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from tinyvlm.config import Config
from tinyvlm.layers import Attention, Block, FeedForward, PatchEmbedding, Positions, Residual, Stack


@dataclass(frozen=True)
class VisionConfig(Config):
    """`hidden` is the feed-forward width; `norm_before` is CLIP's `ln_pre`; sizes in pixels.

    `positions=False` leaves the position table out: the ablation of ViT's appendix D.4, where the encoder sees a bag of
    patches.
    """

    image_size: int = 224
    patch: int = 16
    channels: int = 3
    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    activation: str = "gelu"
    eps: float = 1e-6
    class_token: bool = True
    norm_before: bool = False
    patch_bias: bool = True
    qkv_bias: bool = True
    positions: bool = True
    position_std: float = 0.02
    dropout: float = 0.0
    drop: float = 0.0

    def __post_init__(self) -> None:
        if self.image_size % self.patch:
            raise ValueError(
                f"VisionConfig: image_size {self.image_size} is not a multiple of patch {self.patch}; change one"
            )

    @property
    def tokens(self) -> int:
        """Length of the output: patches, and one more for the class token."""
        return (self.image_size // self.patch) ** 2 + self.class_token

    def drop_at(self, depth: int) -> float:
        """Stochastic depth of the block at `depth`: it grows linearly, from 0 at the first to `drop` at the last."""
        return self.drop * depth / max(self.layers - 1, 1)


def normalise(image: UInt8[Tensor, "b c h w"], mean: Sequence[float] = (0.5,), std: Sequence[float] = (0.5,)) -> Tensor:
    """Pixels 0..255 as floats around 0: (x / 255 - mean) / std per channel; by default -1..1."""
    if image.dtype != torch.uint8:
        raise ValueError(
            f"image has dtype {image.dtype}; normalise takes uint8 pixels 0..255: convert it once, not twice"
        )
    shape = (1, -1, 1, 1)
    offset = torch.tensor(mean, device=image.device).reshape(shape) * 255
    factor = torch.tensor(std, device=image.device).reshape(shape) * 255
    return (image - offset) / factor


def check_images(image: Tensor, size: int, channels: int = 3) -> None:
    """One sentence for a picture that a tower cannot take: shape, dtype, or raw 0-255 values."""
    wanted = f"float [batch, {channels}, {size}, {size}], normalised to about -1..1"
    if image.ndim != 4 or tuple(image.shape[1:]) != (channels, size, size):
        raise ValueError(f"image has shape {list(image.shape)}; this model takes {wanted}: resize or crop it first")
    if not image.is_floating_point():
        raise ValueError(
            f"image has dtype {image.dtype}; this model takes {wanted}: call tinyvlm.encoders.normalise first"
        )
    # On a GPU reading the maximum would stall the stream at every step.
    if image.device.type == "cpu" and not torch.compiler.is_compiling() and image.numel():
        extreme = image.detach().abs().amax().item()
        if not extreme <= 20:
            raise ValueError(f"image holds values up to {extreme:.4g}; this model takes {wanted}: normalise it first")


def vision_block(config: VisionConfig, depth: int = 0) -> Block:
    """The tower's plain block: pre-norm attention and feed-forward, dropout behind every dense layer but q, k, v."""

    def residual(branch: nn.Module) -> Residual:
        norm = nn.LayerNorm(config.width, config.eps)
        return Residual(norm, branch, drop=config.drop_at(depth), dropout=config.dropout)

    bias = config.qkv_bias
    return Block(
        attention=residual(Attention(config.width, config.heads, q_bias=bias, k_bias=bias, v_bias=bias)),
        mlp=residual(FeedForward(config.width, config.hidden, config.activation, dropout=config.dropout)),
    )


class VisionTransformer(nn.Module):
    """patches -> embed -> blocks -> norm. `block(depth)` makes the block at a depth, `vision_block` by default.

    A paper that does something in between (hides patches, skips the last norm) calls the parts itself.
    """

    def __init__(self, config: VisionConfig, block: Callable[[int], Block] | None = None):
        super().__init__()
        self.config, width = config, config.width
        self.patches = PatchEmbedding(config.patch, width, config.channels, bias=config.patch_bias)
        self.class_token = nn.Parameter(torch.zeros(width)) if config.class_token else None
        self.positions = Positions(config.tokens, width, config.position_std) if config.positions else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.norm_before = nn.LayerNorm(width, config.eps) if config.norm_before else nn.Identity()
        self.blocks = Stack(map(block or partial(vision_block, config), range(config.layers)))
        self.norm = nn.LayerNorm(width, config.eps)

    def embed(self, patches: Float[Tensor, "b n width"]) -> Float[Tensor, "b m width"]:
        """What goes into the first block: patches behind the class token, where there is one, with their positions."""
        if self.class_token is not None:
            patches = torch.cat([self.class_token.expand(len(patches), 1, -1), patches], dim=1)
        return self.norm_before(self.dropout(self.positions(patches)))

    def forward(self, image: Float[Tensor, "b channels size size"], **inputs: Any) -> Float[Tensor, "b n width"]:
        """Normalised output tokens; the class token, where there is one, is the first.

        `inputs` go to the blocks, e.g. `attention={"bias": bias}`; see `Stack`.
        """
        check_images(image, self.config.image_size, self.config.channels)
        return self.norm(self.blocks(self.embed(self.patches(image)), **inputs))
