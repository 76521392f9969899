"""Visual tokenizers: a picture as a grid of codes, and back.

    picture -> encoder -> a vector a place  -> the nearest of K codes  (VQ-VAE, van den Oord et al., arXiv 1711.00937)
                       -> K logits a place  -> the likeliest code      (dVAE of DALL-E, Ramesh et al., arXiv 2102.12092)
    codes -> their vectors (the codebook) -> decoder -> picture

`kind` is the switch. Both have the convolutional networks of DALL-E's tokenizer, whose encoder is the size "DALL-E".
BEiT (arXiv 2106.08254) takes its codes and never trains it.

Deviations and choices:
- DALL-E's decoder begins with a 1x1 convolution of one-hot codes. That is the codebook; its bias is left out.
- The small sizes shrink a picture in the first convolution, by its stride, which a pixel shuffle undoes at the end, and
  learn by squared error. They are `local`: in trials codes that also told of a patch's neighbours were many and hard to
  predict. "DALL-E" has a logit-Laplace likelihood. VQ-VAE's own networks are left out.
- The codebook of a VQ-VAE learns by gradient; the published code has a moving average beside it.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from tinyvlm import blueprint as drawn
from tinyvlm.blueprint import Line, Part
from tinyvlm.config import Config
from tinyvlm.encoders.vision import check_images
from tinyvlm.models.base import Card, PaperModel
from tinyvlm.models.task import Batch, Task, Term
from tinyvlm.objectives.quantising import (
    image_error,
    k_means,
    nearest_code,
    relaxed_codes,
    squeezed,
    straight_through,
    uniform_divergence,
)

# The commitment's is VQ-VAE's. The divergence's is small, since the error beside it is a mean over pixels, not a sum.
BETAS = {"vq": 0.25, "dvae": 5e-4}
LOOK = 10  # updates between two looks at which codes are in use


@dataclass(frozen=True)
class TokenizerConfig(Config):
    """`codes` is K, `code_width` the width of the codebook. `widths` are those of the groups of `blocks` blocks each;
    `strides` the first convolution's and those of the pools behind every group but the last. `local`: a code tells of
    its own patch alone. `laplace`: the decoder puts out a mean and a scale for each pixel."""

    kind: Literal["vq", "dvae"] = "dvae"
    image_size: int = 112
    channels: int = 3
    codes: int = 8192
    code_width: int = 128
    widths: tuple[int, ...] = (256, 512, 1024, 2048)
    strides: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 2
    local: bool = False
    laplace: bool = True

    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "micro": {
            "kind": "vq",
            "image_size": 48,
            "codes": 256,
            "code_width": 64,
            "widths": (128,),
            "strides": (12,),
            "local": True,
            "laplace": False,
        },
        "small": {
            "kind": "vq",
            "image_size": 64,
            "codes": 2048,
            "code_width": 64,
            "widths": (256,),
            "strides": (8,),
            "local": True,
            "laplace": False,
        },
        "DALL-E": {},
    }

    def __post_init__(self) -> None:
        if len(self.strides) != len(self.widths):
            raise ValueError(
                f"TokenizerConfig: {len(self.strides)} strides for {len(self.widths)} groups; give one a group"
            )
        if self.image_size % self.stride:
            raise ValueError(
                f"TokenizerConfig: image_size {self.image_size} is not a multiple of the stride {self.stride}; change "
                "one"
            )

    @property
    def stride(self) -> int:
        """Pixels of a code's side."""
        return math.prod(self.strides)

    @property
    def side(self) -> int:
        """Codes of the grid's side."""
        return self.image_size // self.stride


class Bottleneck(nn.Module):
    """shortcut(x) + gain * four convolutions, each behind a ReLU; the inner ones a quarter as wide as the output."""

    def __init__(self, into: int, out: int, kernels: tuple[int, int, int, int], gain: float):
        super().__init__()
        self.gain, inner = gain, out // 4
        shapes = zip((into, inner, inner, inner), (inner, inner, inner, out), kernels, strict=True)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, size, padding=size // 2) for a, b, size in shapes)
        self.shortcut = nn.Identity() if into == out else nn.Conv2d(into, out, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        y = x
        for convolution in self.convolutions:
            y = convolution(F.relu(y))
        return self.shortcut(x) + self.gain * y


def _gain(config: TokenizerConfig) -> float:
    """1 / (number of blocks)^2."""
    return (len(config.widths) * config.blocks) ** -2.0


def encoder(config: TokenizerConfig, out: int) -> nn.Sequential:
    """Picture -> [b, out, side, side]."""
    into, first = config.widths[0], config.strides[0]
    size, padding = (first, 0) if config.local else (7, 3)
    layers: list[nn.Module] = [nn.Conv2d(config.channels, into, size, first, padding)]
    kernels = (1, 1, 1, 1) if config.local else (3, 3, 3, 1)
    for width, stride in zip(config.widths, (*config.strides[1:], 1), strict=True):
        for _ in range(config.blocks):
            layers.append(Bottleneck(into, width, kernels, _gain(config)))
            into = width
        if stride > 1:
            layers.append(nn.MaxPool2d(stride))
    return nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(into, out, 1))


def decoder(config: TokenizerConfig) -> nn.Sequential:
    """Code vectors [b, code_width, side, side] -> picture, or means and scales of its pixels."""
    layers: list[nn.Module] = []
    into, kernels = config.code_width, (1, 1, 1, 1) if config.local else (1, 3, 3, 3)
    for width, stride in zip(reversed(config.widths), (*reversed(config.strides[1:]), 1), strict=True):
        for _ in range(config.blocks):
            layers.append(Bottleneck(into, width, kernels, _gain(config)))
            into = width
        if stride > 1:
            layers.append(nn.Upsample(scale_factor=stride, mode="nearest"))
    out, first = config.channels * (1 + config.laplace), config.strides[0]
    return nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(into, out * first**2, 1), nn.PixelShuffle(first))


def _blueprint(config: TokenizerConfig) -> tuple[Part, ...]:
    side, vq = config.side, config.kind == "vq"
    choose = Line("nearest_code" if vq else "choose", "nearest code" if vq else "likeliest code", call=True)
    grid = drawn.shape(config.code_width if vq else config.codes, side, side)
    shown = drawn.shape(config.channels * (1 + config.laplace), config.image_size, config.image_size)
    second = ("commitment", "vectors stay near codes") if vq else ("divergence", "from uniform codes")
    parts = (
        drawn.image(config, "full"),
        Part("encoder", "convolutions", inputs=("image",), out=grid),
        Part("", "visual words", "left", ("encoder",), (choose,), out=f"{side**2} codes", key="codes"),
        Part(*second, "right", ("encoder",), role="loss"),
        Part("codebook", "a vector for each code", inputs=("codes",), out=drawn.shape(side**2, config.code_width)),
        Part("decoder", "convolutions", "left", ("codebook",), out=shown),
        Part("codebook_loss", "codes move to vectors", "right", ("codebook",), role="loss"),
        Part("reconstruction", "error of the pixels", "left", ("decoder",), role="loss"),
    )
    return tuple(part for part in parts if vq or part.name != "codebook_loss")


class VisualTokenizer(PaperModel):
    """`codes(image)` and `decode(codes)`, whichever the kind."""

    Config = TokenizerConfig
    CARD = Card(
        paper="Neural Discrete Representation Learning",
        arxiv="1711.00937",
        towers="one (image), and a decoder",
        fusion="none",
        objectives=("reconstruction", "codebook and commitment (VQ-VAE) or divergence from uniform (dVAE)"),
        frozen="nothing",
        output="codes, image",
    )
    BLUEPRINT = staticmethod(_blueprint)
    config: TokenizerConfig

    def __init__(self, config: TokenizerConfig):
        super().__init__(config)
        self.encoder = encoder(config, config.code_width if config.kind == "vq" else config.codes)
        self.codebook = nn.Embedding(config.codes, config.code_width)
        self.decoder = decoder(config)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def encode(self, image: Float[Tensor, "b c size size"]) -> Float[Tensor, "b n d"]:
        """Of each place its vector (VQ-VAE) or its logits (dVAE); places row by row. `image` is about -1..1."""
        check_images(image, self.config.image_size, self.config.channels)
        shown = squeezed(image) if self.config.laplace else image
        return rearrange(self.encoder(shown), "b d y x -> b (y x) d")

    def choose(self, encoded: Float[Tensor, "b n d"]) -> Int[Tensor, "b n"]:
        """The code of each place."""
        if self.config.kind == "dvae":
            return encoded.argmax(-1)
        return nearest_code(encoded.flatten(0, 1), self.codebook.weight).view(encoded.shape[:2])

    def codes(self, image: Float[Tensor, "b c size size"]) -> Int[Tensor, "b n"]:
        """Pictures as visual words."""
        return self.choose(self.encode(image))

    def draw(self, vectors: Float[Tensor, "b n code_width"]) -> Float[Tensor, "b out size size"]:
        """What the decoder makes of code vectors."""
        return self.decoder(rearrange(vectors, "b (y x) d -> b d y x", y=self.config.side))

    def decode(self, codes: Int[Tensor, "b n"]) -> Float[Tensor, "b c size size"]:
        """Visual words as pictures of about -1..1; of a Laplace the median."""
        drawn_image = self.draw(self.codebook(codes))
        if not self.config.laplace:
            return drawn_image
        mean = drawn_image.chunk(2, dim=1)[0].sigmoid()
        return (mean - 0.1) / 0.8 * 2 - 1

    def forward(self, image: Float[Tensor, "b c size size"]) -> Float[Tensor, "b c size size"]:
        """A picture through its codes."""
        return self.decode(self.codes(image))

    @torch.no_grad()
    def start_codebook(self, image: Float[Tensor, "b c size size"], rng: torch.Generator, rounds: int = 10) -> None:
        """Codes of a VQ-VAE begin as the k-means centres of the untrained encoder's vectors; a dVAE's stay as drawn."""
        if self.config.kind == "vq":
            points = torch.cat([self.encode(part).flatten(0, 1) for part in image.split(256)])
            self.codebook.weight.copy_(k_means(points, self.config.codes, rounds, rng))


class TokenizerTask(Task):
    """Training a tokenizer: the three terms of VQ-VAE, or the evidence bound of a dVAE.

    Args:
        beta: weight of the commitment or of the divergence; by default that of `BETAS`.
        patience: updates after which an unused code of a VQ-VAE restarts at a vector of the batch; 0 never restarts.
            Every tenth batch is looked at.
        steps: updates over which a dVAE's temperature falls from 1 to 1/16.
    """

    model: VisualTokenizer
    idle: Tensor
    updates: Tensor

    def __init__(self, model: VisualTokenizer, *, beta: float | None = None, patience: int = 50, steps: int = 1000):
        super().__init__()
        self.model, self.patience, self.steps = model, patience, steps
        self.beta = BETAS[model.config.kind] if beta is None else beta
        self.register_buffer("idle", torch.zeros(model.config.codes, dtype=torch.int64))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def prepare(self, batch: Batch, rng: torch.Generator) -> Batch:
        """Adds `uniforms` [b, n, K] and the `temperature` (dVAE), or `restart` [K], places of the batch (VQ-VAE)."""
        ready, config = {**super().prepare(batch, rng)}, self.model.config
        places = len(batch["image"]), config.side**2
        device = batch["image"].device
        if config.kind == "dvae":
            ready["uniforms"] = torch.rand(*places, config.codes, generator=rng).to(device)
            ready["temperature"] = 16.0 ** -(self.updates / self.steps).clamp_max(1.0)
        else:
            ready["restart"] = torch.randint(math.prod(places), (config.codes,), generator=rng).to(device)
        return ready

    def forward(self, batch: Batch) -> dict[str, Term]:
        model, image = self.model, batch["image"]
        encoded = model.encode(image)
        if model.config.kind == "dvae":
            vectors = relaxed_codes(encoded, batch["uniforms"], batch["temperature"]) @ model.codebook.weight
            second = {"divergence": Term.of(self.beta * uniform_divergence(encoded))}
        else:
            chosen = model.codebook(model.choose(encoded))
            vectors = straight_through(encoded, chosen)
            second = {
                "codebook_loss": Term.of((encoded.detach() - chosen).square().mean(-1)),
                "commitment": Term.of(self.beta * (encoded - chosen.detach()).square().mean(-1)),
            }
        error = image_error(model.draw(vectors), image, model.config.laplace)
        return {"reconstruction": Term.of(error), **second}

    @torch.no_grad()
    def after_step(self, batch: Batch) -> None:
        """Count for how many updates each code has been idle, and restart those that are past the patience."""
        self.updates += 1
        if self.model.config.kind == "dvae" or not self.patience or self.updates % LOOK:
            return
        encoded = self.model.encode(batch["image"])
        self.idle += LOOK
        self.idle[self.model.choose(encoded).flatten()] = 0
        dead = self.idle > self.patience
        self.model.codebook.weight[dead] = encoded.flatten(0, 1)[batch["restart"][dead]]
        self.idle[dead] = 0
