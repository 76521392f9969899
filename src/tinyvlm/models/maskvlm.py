"""MaskVLM: masked vision and language modelling (Kwon et al., arXiv 2208.02131, figure 2).

    picture, clean and masked -> ViT  -> image tokens -> image cross-encoder, attends to the words
                                                             -> image decoder, attends to the words -> pixels (MIM)
    caption, clean and masked -> BERT -> text tokens  -> text cross-encoder, attends to the picture -> words  (MLM)

    contrast (ITC) compares the two encoders' vectors; matching (ITM) reads both cross-encoders

What is new since ALBEF: the fusion is symmetric. Each modality gives the queries of a cross-encoder. Hidden pixels
are rebuilt with the help of the intact caption, as hidden words are with the help of the intact picture.

The losses and masks are in `maskvlm_task`. There is no official code. Deviations and choices:
- The text encoder of B/16 is RoBERTa's: its positions begin at 2, and the table has 514 rows for 512 words.
- A cross-encoder's block is ALBEF's fusion block (self-attention, cross-attention, feed-forward, post-norm).
- ITM multiplies the two cross-encoders' vectors element by element. The size of the shared space, 256, is ALBEF's.
- `micro` has one patch for each object (24 px of 48), one cross block and one decoder block. Smaller patches and more
  hidden places learnt too slowly in trials. Its blocks are pre-norm, and it reads the mean of the tokens.
- `micro` and `small` have no class token. The course's texts open with BOS, which stands for [CLS].
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tinyvlm import blueprint as drawn
from tinyvlm.blueprint import Arrow, Blocks, Branch, Line, Part
from tinyvlm.config import Config
from tinyvlm.encoders.bert import BertConfig, BertEmbedding, WordPredictor, bert_blocks, last_norm
from tinyvlm.encoders.init import init_normal
from tinyvlm.encoders.vision import VisionConfig, VisionTransformer, check_images
from tinyvlm.layers.masks import Mask
from tinyvlm.layers.poolers import pool
from tinyvlm.layers.residual import Stack
from tinyvlm.models.albef import fusion_block
from tinyvlm.models.base import Card, PaperModel
from tinyvlm.models.pairs import Matched, UnitVectors
from tinyvlm.models.texts import check_texts
from tinyvlm.objectives.reconstruction import unpatchify


def _size(image_size: int, patch: int, width: int, layers: tuple[int, int, int], context: int) -> dict[str, Any]:
    image, text, cross = layers
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
        types=0,
        width=width,
        layers=text,
        heads=4,
        hidden=2 * width,
        eps=1e-5,
        placement="pre",
        std=0.1,
        word_std=0.05,
    )
    small = {"vision": vision, "bert": bert, "cross": cross, "decoder": cross, "embedding": width}
    return {**small, "first_place": 0, "pool": "mean", "mask_id": 3}


def _roberta() -> BertConfig:
    return BertConfig(vocabulary=50265, context=514, types=1, eps=1e-5)


@dataclass(frozen=True)
class MaskVLMConfig(Config):
    """`cross` and `decoder` count blocks of each cross-encoder and of the image decoder. `first_place` is the position
    of a text's first word. `pool` makes a vector of tokens. Without `see_text` the image side attends to no word: the
    baseline, masked image modelling alone."""

    vision: VisionConfig = field(default_factory=VisionConfig)
    bert: BertConfig = field(default_factory=_roberta)
    cross: int = 3
    decoder: int = 3
    embedding: int = 256
    first_place: int = 2
    pool: str = "first"
    see_text: bool = True
    temperature: float = 0.07
    temperature_range: tuple[float, float] = (0.001, 0.5)
    mask_id: int = 50264

    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "micro": _size(48, 24, 128, layers=(2, 1, 1), context=24),
        "small": _size(64, 16, 256, layers=(6, 4, 2), context=40),
        "B/16": {},
    }

    def __post_init__(self) -> None:
        if self.vision.width != self.bert.width:
            raise ValueError(
                f"MaskVLMConfig: image tokens are {self.vision.width} wide and text tokens {self.bert.width}; matching "
                "multiplies them element by element: make them equal"
            )

    @property
    def image_side(self) -> BertConfig:
        """The blocks of image cross-encoder and decoder: BERT's, with the image encoder's heads and feed-forwards."""
        return self.bert.replace(heads=self.vision.heads, hidden=self.vision.hidden)


@dataclass
class MaskVLMOutput(Matched):
    """`image` and `text` are L2-normalised; the fused tokens are those of the two cross-encoders."""

    image: Float[Tensor, "b d"]
    text: Float[Tensor, "b d"]
    fused_image: Float[Tensor, "b k width"]
    fused_text: Float[Tensor, "b n width"]
    matching: Float[Tensor, "b 2"]


def _blueprint(config: MaskVLMConfig) -> tuple[Part, ...]:
    vision, bert, vector = config.vision, config.bert, f"{config.embedding}"
    image_tokens, words = drawn.shape(vision.tokens, vision.width), f"n × {bert.width}"
    pooled, unit = drawn.pooling(config.pool), Line("normalize", "unit length", call=True)

    def crossed(name: str, times: int, side: BertConfig, what: str) -> Blocks:
        cross = Branch("cross", f"cross-attention to the {what} tokens", f"{side.heads} heads", side.placement)
        return Blocks(name, times, drawn.block(side, side.placement, cross=cross))

    def normed(stack: Blocks, name: str) -> tuple[Line | Blocks, ...]:
        return (stack, Line(name, "last LayerNorm")) if bert.placement == "pre" else (stack,)

    def to_words(queries: str) -> tuple[Arrow, Arrow]:
        return Arrow(queries), Arrow("text tokens", into="cross")

    to_image = (Arrow("text tokens"), Arrow("vision", into="cross"))
    vectors, learned = ("image vector", "text vector"), (Line("temperature", "learned"),)
    image_side = config.image_side
    into_image = normed(crossed("image_cross", config.cross, image_side, "text"), "image_cross_norm")
    into_text = normed(crossed("text_cross", config.cross, bert, "image"), "text_cross_norm")
    decoder = normed(crossed("decoder", config.decoder, image_side, "text"), "decoder_norm")
    read = normed(Blocks("text", bert.layers, drawn.block(bert, bert.placement)), "text_norm")
    image_vector = (pooled, Line("image_projection", "linear layer"), unit)
    text_vector = (pooled, Line("text_projection", "linear layer"), unit)
    match = (pooled, Line("", "product of the two vectors"), Line("match", "linear layer, yes or no"))
    pixels = f"{vision.channels * vision.patch**2:,}"
    return (
        drawn.image(vision),
        drawn.text(bert.context),
        Part("mask_token", "stands for a hidden patch", "left", ("image",), out=drawn.shape(vision.width)),
        drawn.bert_embedding(bert),
        Part("vision", "Vision Transformer", "left", ("mask_token",), drawn.vision_items(vision), out=image_tokens),
        Part("", "text encoder", "right", ("embedding",), read, out=words, key="text tokens"),
        Part("", "image vector", "left", ("vision",), image_vector, out=vector, key="image vector"),
        Part("", "text vector", "right", ("text tokens",), text_vector, out=vector, key="text vector"),
        Part("ITC", "contrast of all pairs, clean inputs", inputs=vectors, items=learned, role="loss", pairs=True),
        Part("", "image cross-encoder", "left", to_words("vision"), into_image, out=image_tokens, key="fused image"),
        Part("", "text cross-encoder", "right", to_image, into_text, out=words, key="fused text"),
        Part("", "do the two match?", inputs=("fused image", "fused text"), items=match, out="2", key="pair"),
        Part("", "image decoder", "left", to_words("fused image"), decoder, out=image_tokens, key="decoded"),
        Part("pixels", "linear layer: pixels of hidden patches", "left", ("decoded",), out=pixels),
        Part("word", "hidden words; output layer: word table", "right", ("fused text",), out=f"{bert.vocabulary:,}"),
        Part("ITM", "matching, clean inputs; hard negatives, found by ITC", inputs=("pair",), role="loss"),
        Part("MIM", "masked pixels, intact caption", "left", ("pixels",), role="loss"),
        Part("MLM", "masked words", "right", ("word",), (Line("", "intact image"),), role="loss"),
    )


class MaskVLM(UnitVectors, PaperModel):
    Config = MaskVLMConfig
    CARD = Card(
        paper="Masked Vision and Language Modeling for Multi-modal Representation Learning",
        arxiv="2208.02131",
        towers="two (image, text), then two cross-encoders and an image decoder",
        fusion="cross-attention both ways",
        objectives=(
            "contrast (ITC)",
            "image-text matching (ITM), hard negatives",
            "masked words (MLM)",
            "masked pixels (MIM)",
        ),
        frozen="nothing",
        output="embeddings, matching score, words, pixels",
    )
    BLUEPRINT = staticmethod(_blueprint)
    config: MaskVLMConfig

    def __init__(self, config: MaskVLMConfig):
        super().__init__(config)
        vision, bert, side = config.vision, config.bert, config.image_side
        self.mask_token = nn.Parameter(torch.empty(vision.width))
        self.vision = VisionTransformer(vision)
        self.embedding = BertEmbedding(bert)
        self.text, self.text_norm = bert_blocks(bert), last_norm(bert)
        self.image_projection = nn.Linear(vision.width, config.embedding)
        self.text_projection = nn.Linear(bert.width, config.embedding)
        self.temperature = nn.Parameter(torch.tensor(config.temperature))
        self.image_cross = Stack(fusion_block(side, side.width) for _ in range(config.cross))
        self.image_cross_norm = last_norm(side)
        self.text_cross = Stack(fusion_block(bert, bert.width) for _ in range(config.cross))
        self.text_cross_norm = last_norm(bert)
        self.match = nn.Linear(vision.width, 2)
        self.decoder = Stack(fusion_block(side, side.width) for _ in range(config.decoder))
        self.decoder_norm = last_norm(side)
        self.pixels = nn.Linear(vision.width, vision.channels * vision.patch**2)
        self.word = WordPredictor(bert)
        nn.init.normal_(self.mask_token, std=0.02)
        for part in (
            self.vision.blocks,
            self.text,
            self.image_projection,
            self.text_projection,
            self.image_cross,
            self.text_cross,
            self.match,
            self.decoder,
            self.pixels,
            self.word,
        ):
            init_normal(part, bert.std)

    def image_tokens(
        self, image: Float[Tensor, "b c size size"], hidden: Bool[Tensor, "b patches"] | None = None
    ) -> Float[Tensor, "b k width"]:
        """`hidden` is True at patches in whose place the mask token enters the encoder."""
        check_images(image, self.config.vision.image_size, self.config.vision.channels)
        patches = self.vision.patches(image)
        if hidden is not None:
            patches = torch.where(hidden.unsqueeze(-1), self.mask_token, patches)
        return self.vision.norm(self.vision.blocks(self.vision.embed(patches)))

    def text_tokens(self, ids: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b n width"]:
        """`mask` is True at real tokens."""
        check_texts(ids, mask, self.config.bert.vocabulary)
        words = self.embedding(ids, self.config.first_place)
        return self.text_norm(self.text(words, attention={"mask": Mask(padding=mask)}))

    def fuse_image(
        self,
        image_tokens: Float[Tensor, "b k width"],
        text_tokens: Float[Tensor, "b n width"],
        mask: Bool[Tensor, "b n"],
    ) -> Float[Tensor, "b k width"]:
        """Image tokens that have attended to the words."""
        return self.image_cross_norm(self.image_cross(image_tokens, cross=self._words(text_tokens, mask)))

    def fuse_text(
        self,
        text_tokens: Float[Tensor, "b n width"],
        mask: Bool[Tensor, "b n"],
        image_tokens: Float[Tensor, "b k width"],
    ) -> Float[Tensor, "b n width"]:
        """Text tokens that have attended to the picture."""
        inputs = {"attention": {"mask": Mask(padding=mask)}, "cross": {"context": image_tokens}}
        return self.text_cross_norm(self.text_cross(text_tokens, **inputs))

    def decode(
        self,
        fused_image: Float[Tensor, "b k width"],
        text_tokens: Float[Tensor, "b n width"],
        mask: Bool[Tensor, "b n"],
    ) -> Float[Tensor, "b patches values"]:
        """Pixel values of every patch, as `patchify` orders them."""
        decoded = self.decoder_norm(self.decoder(fused_image, cross=self._words(text_tokens, mask)))
        return self.pixels(decoded[:, int(self.config.vision.class_token) :])

    def _words(self, text_tokens: Tensor, mask: Tensor) -> dict[str, Any]:
        """What the image side may attend to. A query that may attend to nothing gets 0 from attention."""
        return {"context": text_tokens, "mask": Mask(padding=mask if self.config.see_text else mask & False)}

    def matching(
        self,
        fused_image: Float[Tensor, "b k width"],
        fused_text: Float[Tensor, "b n width"],
        mask: Bool[Tensor, "b n"],
    ) -> Float[Tensor, "b 2"]:
        """No match, match: from the product of both cross-encoders' vectors."""
        return self.match(pool(fused_image, self.config.pool) * pool(fused_text, self.config.pool, mask))

    def predict_words(
        self,
        image: Float[Tensor, "b c size size"],
        ids: Int[Tensor, "b n"],
        mask: Bool[Tensor, "b n"],
        hidden: Bool[Tensor, "b n"],
    ) -> Float[Tensor, "m vocabulary"]:
        """Logits of the words at the `m` places called `hidden`."""
        fused = self.fuse_text(self.text_tokens(ids, mask), mask, self.image_tokens(image))
        return self.word(fused[hidden], self.embedding.words)

    def reconstruct(
        self,
        image: Float[Tensor, "b c size size"],
        hidden: Bool[Tensor, "b patches"],
        ids: Int[Tensor, "b n"],
        mask: Bool[Tensor, "b n"],
    ) -> Float[Tensor, "b c size size"]:
        """Every patch as the decoder paints it, from the patches that are not `hidden` and the caption."""
        text_tokens = self.text_tokens(ids, mask)
        fused = self.fuse_image(self.image_tokens(image, hidden), text_tokens, mask)
        return unpatchify(self.decode(fused, text_tokens, mask), self.config.vision.patch)

    def forward(
        self, image: Float[Tensor, "b c size size"], ids: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"]
    ) -> MaskVLMOutput:
        image_tokens, text_tokens = self.image_tokens(image), self.text_tokens(ids, mask)
        fused_image = self.fuse_image(image_tokens, text_tokens, mask)
        fused_text = self.fuse_text(text_tokens, mask, image_tokens)
        vectors = self.embed_image(image_tokens), self.embed_text(text_tokens, mask)
        return MaskVLMOutput(*vectors, fused_image, fused_text, self.matching(fused_image, fused_text, mask))
