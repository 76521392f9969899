"""ALBEF: align before fuse (Li et al., arXiv 2107.07651, figure 1, section 3).

    picture -> ViT ------------------------> image tokens --- projection \\
                                                  |                       contrast (ITC), with a momentum twin's keys
    caption -> lower half of BERT --------> text tokens ---- projection /
                                                  |
               upper half of BERT, each layer with cross-attention to the image tokens -> [CLS] -> matching (ITM)
                                                                                       -> words -> masked words (MLM)

What is new since Pixel-BERT: two towers come first and are aligned by contrast before anything is fused; the alignment
finds the wrong captions that are worth asking about; and a slowly moving copy of the model supplies keys, and soft
targets against captions that are wrong.

The losses, the twin and the negatives are in `albef_task`. Deviations and choices:
- `micro` and `small` read pictures and texts by the mean of their tokens, as in week 3, and have no class token. The
  course's texts open with BOS, which stands for [CLS].
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tinyvlm import blueprint as drawn
from tinyvlm.blueprint import Arrow, Blocks, Branch, Line, Part
from tinyvlm.config import Config
from tinyvlm.encoders.bert import BertConfig, BertEmbedding, WordPredictor, bert_blocks, last_norm
from tinyvlm.encoders.init import init_normal
from tinyvlm.encoders.vision import VisionConfig, VisionTransformer
from tinyvlm.layers.attention import Attention
from tinyvlm.layers.feedforward import FeedForward
from tinyvlm.layers.masks import Mask
from tinyvlm.layers.poolers import pool
from tinyvlm.layers.residual import Block, Residual, Stack
from tinyvlm.models.base import Card, PaperModel
from tinyvlm.models.texts import check_texts


def _size(image_size: int, patch: int, width: int, layers: tuple[int, int, int], context: int) -> dict[str, Any]:
    image, text, fusion = layers
    vision = VisionConfig(
        image_size=image_size,
        patch=patch,
        width=width,
        layers=image,
        heads=4,
        hidden=2 * width,
        class_token=False,
        position_std=0.5,
    )
    bert = BertConfig(
        vocabulary=4096,
        context=context,
        width=width,
        layers=text + fusion,
        heads=4,
        hidden=2 * width,
        eps=1e-5,
        std=0.05,
        word_std=0.05,
    )
    return {"vision": vision, "bert": bert, "fusion": fusion, "embedding": width, "pool": "mean", "mask_id": 3}


@dataclass(frozen=True)
class ALBEFConfig(Config):
    """`fusion` of BERT's layers, the upper ones, have cross-attention. `pool` makes a vector of a tower's tokens."""

    vision: VisionConfig = field(default_factory=lambda: VisionConfig(image_size=256))
    bert: BertConfig = field(default_factory=BertConfig)
    fusion: int = 6
    embedding: int = 256
    pool: str = "first"
    temperature: float = 0.07
    temperature_range: tuple[float, float] = (0.001, 0.5)
    mask_id: int = 103

    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "micro": _size(48, 12, 128, layers=(3, 2, 2), context=24),
        "small": _size(64, 8, 256, layers=(6, 4, 4), context=40),
        "B/16": {},
    }

    def __post_init__(self) -> None:
        if not 0 < self.fusion < self.bert.layers:
            raise ValueError(
                f"ALBEFConfig: fusion is {self.fusion} of {self.bert.layers} text layers; leave both halves at least 1"
            )


@dataclass
class ALBEFOutput:
    """`image` and `text` are L2-normalised; `fused` are the text's tokens after the fusion layers."""

    image: Float[Tensor, "b d"]
    text: Float[Tensor, "b d"]
    fused: Float[Tensor, "b n width"]
    matching: Float[Tensor, "b 2"]

    @property
    def score(self) -> Float[Tensor, " b"]:
        """How much rather the pair belongs together than not, as a logit."""
        return self.matching[:, 1] - self.matching[:, 0]


def fusion_block(bert: BertConfig, image_width: int) -> Block:
    """BERT's layer with a cross-attention from words to image tokens between its two branches."""

    def residual(branch: nn.Module) -> Residual:
        return Residual(nn.LayerNorm(bert.width, bert.eps), branch, placement=bert.placement, dropout=bert.dropout)

    return Block(
        attention=residual(Attention(bert.width, bert.heads)),
        cross=residual(Attention(bert.width, bert.heads, context_width=image_width)),
        mlp=residual(FeedForward(bert.width, bert.hidden, dropout=bert.dropout)),
    )


def _blueprint(config: ALBEFConfig) -> tuple[Part, ...]:
    vision, bert, vector = config.vision, config.bert, f"{config.embedding}"
    image_tokens, words = drawn.shape(vision.tokens, vision.width), f"n × {bert.width}"
    cross = Branch("cross", "cross-attention to the image tokens", f"{bert.heads} heads", bert.placement)
    lower = Blocks("text", bert.layers - config.fusion, drawn.block(bert, bert.placement))
    upper = Blocks("fusion", config.fusion, drawn.block(bert, bert.placement, cross=cross))
    pooled, unit = drawn.pooling(config.pool), Line("normalize", "unit length", call=True)
    twin = (Line("twin", "follows (EMA)"), Line("image_queue", "old keys"), Line("text_queue", "old keys"))
    match = (pooled, Line("match", "linear layer, yes or no"))
    return (
        drawn.image(vision),
        drawn.text(bert.context),
        Part("vision", "Vision Transformer", "left", ("image",), drawn.vision_items(vision), out=image_tokens),
        drawn.bert_embedding(bert),
        Part("", "lower half of BERT", "right", ("embedding",), (lower,), out=words, key="text tokens"),
        Part(
            "",
            "image vector",
            "left",
            ("vision",),
            (pooled, Line("image_projection", "linear layer"), unit),
            out=vector,
            key="image vector",
        ),
        Part(
            "",
            "text vector",
            "right",
            ("text tokens",),
            (pooled, Line("text_projection", "linear layer"), unit),
            out=vector,
            key="text vector",
        ),
        Part("", "momentum model", "middle", items=twin, out="keys", role="beside", frozen=True, key="twin"),
        Part(
            "ITC",
            "contrast of all pairs and old keys",
            inputs=("image vector", "text vector", "twin"),
            items=(Line("temperature", "learned"), Line("", "soft targets by twin")),
            role="loss",
            pairs=True,
        ),
        Part(
            "",
            "upper half of BERT",
            inputs=(Arrow("text tokens"), Arrow("vision", into="cross")),
            items=(upper,),
            out=words,
            key="fused",
        ),
        Part("", "do the two match?", "left", ("fused",), match, out="2", key="pair"),
        Part("word", "hidden words; output layer: word table", "right", ("fused",), out=f"{bert.vocabulary:,}"),
        Part("ITM", "matching; hard negatives, found by ITC", "left", ("pair",), role="loss"),
        Part("MLM", "masked words", "right", ("word",), (Line("", "soft targets by twin"),), role="loss"),
    )


class ALBEF(PaperModel):
    Config = ALBEFConfig
    CARD = Card(
        paper="Align before Fuse: Vision and Language Representation Learning with Momentum Distillation",
        arxiv="2107.07651",
        towers="two (image, text), then a fusion encoder",
        fusion="cross-attention from words to image tokens",
        objectives=("contrast (ITC)", "image-text matching (ITM), hard negatives", "masked words (MLM)"),
        frozen="the momentum twins",
        output="embeddings, matching score, words",
    )
    BLUEPRINT = staticmethod(_blueprint)
    config: ALBEFConfig

    def __init__(self, config: ALBEFConfig):
        super().__init__(config)
        bert, vision = config.bert, config.vision
        self.vision = VisionTransformer(vision)
        self.embedding = BertEmbedding(bert)
        self.text = bert_blocks(bert, bert.layers - config.fusion)
        self.text_norm = last_norm(bert)
        self.fusion = Stack(fusion_block(bert, vision.width) for _ in range(config.fusion))
        self.fusion_norm = last_norm(bert)
        self.image_projection = nn.Linear(vision.width, config.embedding)
        self.text_projection = nn.Linear(bert.width, config.embedding)
        self.temperature = nn.Parameter(torch.tensor(config.temperature))
        self.match = nn.Linear(bert.width, 2)
        self.word = WordPredictor(bert)
        for part in (
            self.vision.blocks,
            self.text,
            self.fusion,
            self.image_projection,
            self.text_projection,
            self.match,
            self.word,
        ):
            init_normal(part, bert.std)

    def text_tokens(self, ids: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b n width"]:
        """`mask` is True at real tokens."""
        check_texts(ids, mask, self.config.bert.vocabulary)
        return self.text_norm(self.text(self.embedding(ids), attention={"mask": Mask(padding=mask)}))

    def embed_image(self, tokens: Float[Tensor, "b k width"]) -> Float[Tensor, "b d"]:
        return F.normalize(self.image_projection(pool(tokens, self.config.pool)), dim=-1)

    def embed_text(self, tokens: Float[Tensor, "b n width"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b d"]:
        return F.normalize(self.text_projection(pool(tokens, self.config.pool, mask)), dim=-1)

    def fuse(
        self,
        text_tokens: Float[Tensor, "b n width"],
        mask: Bool[Tensor, "b n"],
        image_tokens: Float[Tensor, "b k image_width"],
    ) -> Float[Tensor, "b n width"]:
        """Text tokens that have looked at the picture."""
        inputs = {"attention": {"mask": Mask(padding=mask)}, "cross": {"context": image_tokens}}
        return self.fusion_norm(self.fusion(text_tokens, **inputs))

    def matching(self, fused: Float[Tensor, "b n width"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b 2"]:
        return self.match(pool(fused, self.config.pool, mask))

    def encode_image(self, image: Float[Tensor, "b c size size"]) -> Float[Tensor, "b d"]:
        """Pictures as unit vectors."""
        return self.embed_image(self.vision(image))

    def encode_text(self, ids: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b d"]:
        """Texts as unit vectors."""
        return self.embed_text(self.text_tokens(ids, mask), mask)

    def predict_words(
        self,
        image: Float[Tensor, "b c size size"],
        ids: Int[Tensor, "b n"],
        mask: Bool[Tensor, "b n"],
        hidden: Bool[Tensor, "b n"],
    ) -> Float[Tensor, "m vocabulary"]:
        """Logits of the words at the `m` places called `hidden`."""
        return self.word(self(image, ids, mask).fused[hidden], self.embedding.words)

    def forward(
        self, image: Float[Tensor, "b c size size"], ids: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"]
    ) -> ALBEFOutput:
        image_tokens, text_tokens = self.vision(image), self.text_tokens(ids, mask)
        fused = self.fuse(text_tokens, mask, image_tokens)
        matching = self.matching(fused, mask)
        return ALBEFOutput(self.embed_image(image_tokens), self.embed_text(text_tokens, mask), fused, matching)
