"""VLMo: Unified Vision-Language Pre-Training with Mixture-of-Modality-Experts (arXiv 2111.02358).

Here the paper's model is to be written. Until then a linear probe stands in its place, so that every line of the
chapter runs from the first day:

    image -> patches -> Transformer -> mean of the tokens -> linear head

Replace sizes, network, task and card by the paper's. Name figure and equation numbers here.

Deviations: to be listed.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tinyvlm.config import Config
from tinyvlm.encoders import VisionConfig, VisionTransformer, normalise
from tinyvlm.layers import pool
from tinyvlm.models.base import Card, PaperModel
from tinyvlm.models.task import Batch, Task, Term


def _size(width: int, layers: int, heads: int, patch: int, image_size: int) -> dict[str, Any]:
    return {
        "tower": VisionConfig(
            image_size=image_size,
            patch=patch,
            width=width,
            layers=layers,
            heads=heads,
            hidden=4 * width,
            class_token=False,
        )
    }


@dataclass(frozen=True)
class VLMoConfig(Config):
    """`classes` is the number of nouns to tell apart. The paper's own sizes join SIZES under the paper's names."""

    tower: VisionConfig = field(default_factory=VisionConfig)
    classes: int = 1000

    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "micro": _size(96, 2, 4, patch=12, image_size=48),
        "small": _size(256, 6, 8, patch=8, image_size=64),
    }


@dataclass
class VLMoOutput:
    """`features` is the mean of the tokens."""

    tokens: Float[Tensor, "b n width"]
    features: Float[Tensor, "b width"]
    logits: Float[Tensor, "b classes"]


class VLMo(PaperModel):
    Config = VLMoConfig
    CARD = Card(
        paper="VLMo: Unified Vision-Language Pre-Training with Mixture-of-Modality-Experts",
        arxiv="2111.02358",
        towers="one (image)",
        fusion="none",
        objectives=("cross-entropy",),
        frozen="nothing",
        output="class",
    )
    config: VLMoConfig

    def __init__(self, config: VLMoConfig):
        super().__init__(config)
        self.tower = VisionTransformer(config.tower)
        self.head = nn.Linear(config.tower.width, config.classes)
        # All classes equally likely at first: the loss starts at exactly ln(classes).
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, image: Float[Tensor, "b c size size"]) -> VLMoOutput:
        tokens = self.tower(image)
        features = pool(tokens, "mean")
        return VLMoOutput(tokens, features, self.head(features))


class VLMoTask(Task):
    """Softmax cross-entropy over `batch["label"]`, in place of the paper's objective."""

    model: VLMo

    def __init__(self, model: VLMo):
        super().__init__()
        self.model = model

    def prepare(self, batch: Batch, rng: torch.Generator) -> Batch:
        return {**batch, "image": normalise(batch["image"])}

    def forward(self, batch: Batch) -> dict[str, Term]:
        logits = self.model(batch["image"]).logits
        loss = F.cross_entropy(logits, batch["label"], reduction="sum")
        return {"cross_entropy": Term(loss, torch.tensor(len(logits), device=loss.device))}
