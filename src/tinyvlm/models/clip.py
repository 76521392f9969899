"""CLIP: learning transferable visual models from natural language supervision (Radford et al., arXiv 2103.00020).

Figure 3 of the paper, in its own order: image encoder, text encoder, linear projections to a joint space, L2-norm,
cosines times a learned temperature, symmetric cross-entropy. What is new since ViT: `norm_before` (ln_pre), no patch
bias, a second tower for text, and an objective that needs no labels.

Deviations:
- The image tower is a ViT; the paper's ResNets are left out.
- Official code draws only the text tower's weights by width and depth and leaves the image tower at PyTorch's defaults;
  here both are drawn that way.
- The paper says 49,152 words and 76 positions; the released weights have 49,408 and 77, and so have the named sizes.
- `micro` (a CPU in minutes) reads pictures by the mean of their patches and texts by the mean of their words, has no
  class token, and starts its word table at a larger value: a few hundred updates are all it gets, and a mean gives
  every word and patch a direct way into the loss from the first. `small` and the paper's sizes read class and end
  token.
"""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tinyvlm import blueprint as drawn
from tinyvlm.blueprint import Line, Part
from tinyvlm.config import Config
from tinyvlm.encoders.init import init_by_width
from tinyvlm.encoders.text import TextConfig, TextTransformer
from tinyvlm.encoders.vision import VisionConfig, VisionTransformer
from tinyvlm.interop.hf import clip_from_hf
from tinyvlm.interop.open_clip import clip_from_open_clip
from tinyvlm.layers.attention import Attention
from tinyvlm.layers.feedforward import FeedForward
from tinyvlm.layers.poolers import pool
from tinyvlm.layers.residual import Block, Residual
from tinyvlm.models.base import Card, PaperModel
from tinyvlm.models.task import Batch, Task, Term
from tinyvlm.models.texts import check_texts, ends
from tinyvlm.objectives.contrastive import Gather, gather_with_gradient, info_nce


def _vision(width: int, layers: int, heads: int, patch: int, image_size: int = 224) -> VisionConfig:
    return VisionConfig(
        image_size=image_size,
        patch=patch,
        width=width,
        layers=layers,
        heads=heads,
        hidden=4 * width,
        activation="quick_gelu",
        eps=1e-5,
        norm_before=True,
        patch_bias=False,
        position_std=width**-0.5,
    )


def _text(width: int, layers: int, heads: int, **changes: Any) -> TextConfig:
    return TextConfig(width=width, layers=layers, heads=heads, hidden=4 * width, activation="quick_gelu", **changes)


@dataclass(frozen=True)
class CLIPConfig(Config):
    """`end_id` marks the text's end where no mask is given; None takes the largest id, as the official code does."""

    vision: VisionConfig = field(default_factory=lambda: _vision(768, 12, 12, patch=32))
    text: TextConfig = field(default_factory=lambda: _text(512, 12, 8))
    embedding: int = 512
    image_pool: str = "first"
    text_pool: str = "last"
    end_id: int | None = None
    temperature: float = 0.07
    largest_scale: float = 100.0

    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "micro": {
            "vision": _vision(128, 3, 4, patch=12, image_size=48).replace(class_token=False, position_std=0.02),
            "text": _text(128, 2, 4, vocabulary=4096, context=40, token_std=0.5, position_std=0.02),
            "embedding": 128,
            "image_pool": "mean",
            "text_pool": "mean",
            "end_id": 5,  # EOS of the course's tokenizer, whose ids do not put it last
        },
        "small": {
            "vision": _vision(256, 6, 4, patch=8, image_size=64),
            "text": _text(256, 4, 4, vocabulary=4096, context=40),
            "embedding": 256,
            "end_id": 5,
        },
        "ViT-B/32": {},
        "ViT-B/16": {"vision": _vision(768, 12, 12, patch=16)},
        "ViT-L/14": {"vision": _vision(1024, 24, 16, patch=14), "text": _text(768, 12, 12), "embedding": 768},
        "ViT-L/14@336": {
            "vision": _vision(1024, 24, 16, patch=14, image_size=336),
            "text": _text(768, 12, 12),
            "embedding": 768,
        },
    }


@dataclass
class CLIPOutput:
    """L2-normalised embeddings, row i of one belonging to row i of the other, and the inverse temperature."""

    image: Float[Tensor, "b d"]
    text: Float[Tensor, "t d"]
    scale: Float[Tensor, ""]

    @property
    def logits(self) -> Float[Tensor, "b t"]:
        """Image -> text logits; transpose them for text -> image."""
        return self.scale * self.image @ self.text.T


def tower_block(tower: VisionConfig | TextConfig, qkv_bias: bool = True, drop: float = 0.0) -> Block:
    """The block of both towers, GPT-2's (section 2.4): norms come first, and the activation is QuickGELU."""

    def residual(branch: nn.Module) -> Residual:
        return Residual(nn.LayerNorm(tower.width, tower.eps), branch, drop=drop, dropout=tower.dropout)

    return Block(
        attention=residual(Attention(tower.width, tower.heads, q_bias=qkv_bias, k_bias=qkv_bias, v_bias=qkv_bias)),
        mlp=residual(FeedForward(tower.width, tower.hidden, tower.activation, dropout=tower.dropout)),
    )


def _blueprint(config: CLIPConfig) -> tuple[Part, ...]:
    vision, text, unit = config.vision, config.text, (Line("normalize", "unit length", call=True),)
    image_vector = (drawn.pooling(config.image_pool), Line("image_projection", "linear layer, no bias"), *unit)
    text_vector = (drawn.pooling(config.text_pool), Line("text_projection", "linear layer, no bias"), *unit)
    image_tokens, words = drawn.shape(vision.tokens, vision.width), f"n × {text.width}"
    scale = Line("log_scale", "learned temperature")
    both, vector = ("image vector", "text vector"), f"{config.embedding}"
    return (
        drawn.image(vision),
        drawn.text(text.context),
        Part("vision", "Vision Transformer", "left", ("image",), drawn.vision_items(vision), out=image_tokens),
        Part("text", "text Transformer", "right", ("ids",), drawn.text_items(text), out=words),
        Part("", "image vector", "left", ("vision",), image_vector, out=vector, key="image vector"),
        Part("", "text vector", "right", ("text",), text_vector, out=vector, key="text vector"),
        Part("contrastive", "InfoNCE, both ways: all pairs", inputs=both, items=(scale,), role="loss", pairs=True),
        Part("classifier", "zero-shot: prompts as weights", role="use"),
    )


class CLIP(PaperModel):
    Config = CLIPConfig
    CARD = Card(
        paper="Learning Transferable Visual Models From Natural Language Supervision",
        arxiv="2103.00020",
        towers="two (image, text)",
        fusion="none: a dot product",
        objectives=("symmetric InfoNCE",),
        frozen="nothing",
        output="embedding",
    )
    BLUEPRINT = staticmethod(_blueprint)
    FOREIGN: ClassVar = {"clip": clip_from_hf, "open_clip": clip_from_open_clip}
    config: CLIPConfig

    def __init__(self, config: CLIPConfig):
        super().__init__(config)
        vision, text = config.vision, config.text
        self.vision = VisionTransformer(
            vision, lambda depth: tower_block(vision, vision.qkv_bias, vision.drop_at(depth))
        )
        self.text = TextTransformer(text, lambda _: tower_block(text))
        self.image_projection = nn.Linear(vision.width, config.embedding, bias=False)
        self.text_projection = nn.Linear(text.width, config.embedding, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / config.temperature)))
        for tower, projection in ((self.vision, self.image_projection), (self.text, self.text_projection)):
            init_by_width(tower.blocks, tower.config.width)
            nn.init.normal_(projection.weight, std=tower.config.width**-0.5)
        if self.vision.class_token is not None:
            nn.init.normal_(self.vision.class_token, std=vision.width**-0.5)

    def encode_image(self, image: Float[Tensor, "b c size size"]) -> Float[Tensor, "b d"]:
        """Pictures as unit vectors."""
        return F.normalize(self.image_projection(pool(self.vision(image), self.config.image_pool)), dim=-1)

    def encode_text(self, ids: Int[Tensor, "t n"], mask: Bool[Tensor, "t n"] | None = None) -> Float[Tensor, "t d"]:
        """Texts as unit vectors. Without a mask (True = real token) the text ends at the configured end token.

        ValueError for what `check_texts` refuses, padding on the left among it, and without a mask for a text that has
        no end token.
        """
        check_texts(ids, mask, self.config.text.vocabulary)
        if mask is None:
            mask = self._before_end(ids)
        return F.normalize(self.text_projection(pool(self.text(ids, mask), self.config.text_pool, mask)), dim=-1)

    def forward(
        self,
        image: Float[Tensor, "b c size size"],
        ids: Int[Tensor, "t n"],
        mask: Bool[Tensor, "t n"] | None = None,
    ) -> CLIPOutput:
        return CLIPOutput(self.encode_image(image), self.encode_text(ids, mask), self.log_scale.exp())

    def classifier(self, ids: Int[Tensor, "c p n"], mask: Bool[Tensor, "c p n"]) -> Float[Tensor, "c d"]:
        """A zero-shot classifier's weights from `p` prompts for each of `c` classes (section 3.1.4).

        Each prompt's embedding is normalised, then averaged per class, then normalised **again**.
        """
        classes = len(ids)
        prompts = self.encode_text(ids.flatten(0, 1), mask.flatten(0, 1)).unflatten(0, (classes, -1))
        return F.normalize(prompts.mean(1), dim=-1)

    def _before_end(self, ids: Tensor) -> Tensor:
        end = ends(ids, self.config.end_id)
        return torch.arange(ids.shape[1], device=ids.device) <= end[:, None]


class CLIPTask(Task):
    """Contrastive pre-training (figure 3 of the paper).

    Args:
        model: the network.
        temperature: hold the temperature at this value instead of learning it (an ablation).
        gather: where candidates come from; by default all processes, with gradient.

    `batch["negatives"]` [b, n, length], where given, are captions offered to image i alone, `negatives_mask` [b, n]
    says which exist: not in the paper, the chapter's remedy for binding.
    """

    model: CLIP

    def __init__(self, model: CLIP, *, temperature: float | None = None, gather: Gather = gather_with_gradient):
        super().__init__()
        self.model, self.gather = model, gather
        if temperature is not None:
            model.log_scale.data.fill_(math.log(1 / temperature))
            model.log_scale.requires_grad_(False)

    def forward(self, batch: Batch) -> dict[str, Term]:
        text, mask, negatives, admitted = batch["text"], batch["text_mask"], None, None
        pairs = len(text)
        if "negatives" in batch:
            # One pass through the text tower for true and changed captions alike.
            admitted = batch["negatives_mask"]
            text = torch.cat([text, batch["negatives"].flatten(0, 1)])
            mask = torch.cat([mask, batch["negatives_text_mask"].flatten(0, 1)])
        out = self.model(batch["image"], text, mask)
        if admitted is not None:
            negatives = out.text[pairs:].unflatten(0, admitted.shape)
        loss = info_nce(
            out.image, out.text[:pairs], out.scale, negatives=negatives, admitted=admitted, gather=self.gather
        )
        return {"contrastive": Term.of(loss)}

    @torch.no_grad()
    def after_step(self, batch: Batch) -> None:
        """The scale is clipped after each update: logits are never multiplied by more than 100 (section 2.5)."""
        self.model.log_scale.clamp_(max=math.log(self.model.config.largest_scale))
