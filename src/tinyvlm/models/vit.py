"""ViT: an image is worth 16x16 words (Dosovitskiy et al., arXiv 2010.11929, figure 1, equations 1-4).

    image -> patches -> [class; patches] + positions -> pre-norm Transformer -> LayerNorm -> token 0 -> linear head

Deviations: none in the network; of the initial weights, the patch projection and the tanh layer keep PyTorch's style
of drawing. `pool="mean"` is the paper's appendix D.3; `representation` is the hidden tanh layer of
its pre-training head. The hybrid (ResNet trunk) is left out. Sizes Ti and S come from DeiT (Touvron
et al., arXiv 2012.12877). The published 307M for L agrees with L/32 (306.5M); L/16 has 304.3M.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tinyvlm import blueprint as drawn
from tinyvlm.blueprint import Line, Part
from tinyvlm.config import Config
from tinyvlm.encoders.init import init_xavier
from tinyvlm.encoders.vision import VisionConfig, VisionTransformer
from tinyvlm.interop.hf import vit_from_hf
from tinyvlm.layers.attention import Attention
from tinyvlm.layers.feedforward import FeedForward
from tinyvlm.layers.poolers import pool
from tinyvlm.layers.residual import Block, Residual
from tinyvlm.models.base import Card, PaperModel
from tinyvlm.models.task import Batch, Task, Term


def _size(
    width: int, layers: int, heads: int, patch: int, hidden: int | None = None, image_size: int = 224
) -> dict[str, Any]:
    tower = VisionConfig(
        image_size=image_size, patch=patch, width=width, layers=layers, heads=heads, hidden=hidden or 4 * width
    )
    return {"tower": tower}


@dataclass(frozen=True)
class ViTConfig(Config):
    """`classes=0` leaves the head out. `representation` is the width of the pre-training head's tanh layer."""

    tower: VisionConfig = field(default_factory=VisionConfig)
    classes: int = 1000
    pool: str = "first"
    representation: int | None = None

    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "micro": _size(128, 4, 4, patch=12, hidden=256, image_size=48),
        "small": _size(256, 6, 8, patch=8, image_size=64),
        "Ti/16": _size(192, 12, 3, patch=16),
        "S/16": _size(384, 12, 6, patch=16),
        "B/32": _size(768, 12, 12, patch=32),
        "B/16": _size(768, 12, 12, patch=16),
        "L/32": _size(1024, 24, 16, patch=32),
        "L/16": _size(1024, 24, 16, patch=16),
        "H/14": _size(1280, 32, 16, patch=14),
    }


@dataclass
class ViTOutput:
    """`logits` is None for a model without a head."""

    tokens: Float[Tensor, "b n width"]
    features: Float[Tensor, "b features"]
    logits: Float[Tensor, "b classes"] | None


def encoder_block(tower: VisionConfig, depth: int) -> Block:
    """Equations 2 and 3: z' = MSA(LN(z)) + z, then MLP(LN(z')) + z'."""

    def residual(branch: nn.Module) -> Residual:
        return Residual(nn.LayerNorm(tower.width, tower.eps), branch, drop=tower.drop_at(depth), dropout=tower.dropout)

    bias = tower.qkv_bias
    return Block(
        attention=residual(Attention(tower.width, tower.heads, q_bias=bias, k_bias=bias, v_bias=bias)),
        mlp=residual(FeedForward(tower.width, tower.hidden, tower.activation, dropout=tower.dropout)),
    )


def _blueprint(config: ViTConfig) -> tuple[Part, ...]:
    tower, hidden = config.tower, config.representation
    out = drawn.shape(tower.tokens, tower.width)
    vector = [drawn.pooling(config.pool)]
    if hidden:
        vector.append(Line("representation", "linear layer, tanh"))
    parts = [
        drawn.image(tower, "full"),
        Part("tower", "Vision Transformer", "full", ("image",), drawn.vision_items(tower), out=out),
        Part("", "one vector", "full", ("tower",), tuple(vector), out=f"{hidden or tower.width}", key="vector"),
    ]
    if config.classes:
        parts.append(Part("head", "linear layer", "full", ("vector",), out=f"{config.classes:,} classes"))
        parts.append(Part("cross_entropy", "softmax cross-entropy with the label", "full", ("head",), role="loss"))
    return tuple(parts)


class ViT(PaperModel):
    Config = ViTConfig
    CARD = Card(
        paper="An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
        arxiv="2010.11929",
        towers="one (image)",
        fusion="none",
        objectives=("cross-entropy",),
        frozen="nothing",
        output="class",
    )
    BLUEPRINT = staticmethod(_blueprint)
    FOREIGN: ClassVar = {"vit": vit_from_hf}
    config: ViTConfig

    def __init__(self, config: ViTConfig):
        super().__init__(config)
        width = config.tower.width
        self.tower = VisionTransformer(config.tower, partial(encoder_block, config.tower))
        hidden = config.representation
        self.representation = nn.Sequential(nn.Linear(width, hidden), nn.Tanh()) if hidden else nn.Identity()
        self.head = nn.Linear(hidden or width, config.classes) if config.classes else None
        init_xavier(self.tower.blocks)
        if self.head is not None:
            # All classes equally likely at first: the loss starts at exactly ln(classes).
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def forward(self, image: Float[Tensor, "b c size size"]) -> ViTOutput:
        tokens = self.tower(image)
        features = self.representation(pool(tokens, self.config.pool))
        return ViTOutput(tokens, features, None if self.head is None else self.head(features))


class ViTTask(Task):
    """Classification: softmax cross-entropy over `batch["label"]`, as in fine-tuning (the paper's section 4.1)."""

    def __init__(self, model: nn.Module):
        super().__init__()
        if getattr(model, "head", None) is None:
            raise ValueError("ViTTask: this ViT has no head (classes=0); build it with the number of classes")
        self.model = model

    def forward(self, batch: Batch) -> dict[str, Term]:
        logits = self.model(batch["image"]).logits
        return {"cross_entropy": Term.of(F.cross_entropy(logits, batch["label"], reduction="none"))}
