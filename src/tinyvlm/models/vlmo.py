"""VLMo: one Transformer whose feed-forwards are experts by modality (Bao et al., arXiv 2111.02358).

    picture -> patches -> attention, V-expert, in every layer -------------> image vector \\
                                                                                          contrast (ITC)
    caption -> words ---> attention, L-expert, in every layer -------------> text vector  /
    caption, picture ---> attention over both; below the top layers words -> L-expert, patches -> V-expert;
                          in the top layers all -> VL-expert -------------> pair -> matching (ITM)
                                                                         -> words -> masked words (MLM)

What is new since ALBEF: there are no towers. Attention is shared by all three uses, and only the feed-forward with its
norm is chosen, by the kind of token and not by a learned gate. So one network is a dual encoder, a fusion encoder, and
an encoder of pictures or of texts alone.

Numbers that the paper leaves open follow the official code. The losses are in `vlmo_task`. Deviations and choices:
- One branch of contrast, that of the V- and L-experts. The official code also reruns the top layers with the VL-expert
  on each modality alone, with projections and a scale of its own, and averages the two losses.
- `micro` and `small` follow Base+ (absolute positions, no LayerScale). They read pictures and texts by the mean of
  their tokens, a pair by the mean of its words, and have no class token. The output layer of MLM is tied to the word
  table there; paper sizes have one of their own.
- `experts=False` is the chapter's comparison: one feed-forward for all tokens.
- The text of a batch may be padded to any length up to `bert.context`; a row is split there, never at its own end.
- Weights are drawn from N(0, std), which the official code cuts off at 2 std.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tinyvlm import blueprint as drawn
from tinyvlm.blueprint import Blocks, Branch, Line, Part
from tinyvlm.config import Config
from tinyvlm.encoders.bert import BertConfig, BertEmbedding, BertPooler, WordPredictor
from tinyvlm.encoders.init import init_normal
from tinyvlm.encoders.vision import VisionConfig, VisionTransformer, check_images
from tinyvlm.layers.attention import Attention
from tinyvlm.layers.experts import Experts
from tinyvlm.layers.feedforward import FeedForward
from tinyvlm.layers.masks import Mask
from tinyvlm.layers.pair_positions import PairPositions
from tinyvlm.layers.poolers import pool
from tinyvlm.layers.residual import Block, Residual
from tinyvlm.models.base import Card, PaperModel
from tinyvlm.models.pairs import Matched, UnitVectors
from tinyvlm.models.texts import check_texts

TEXT, IMAGE = 0, 1  # rows of the modality table
Route = Sequence[tuple[str, int]]


def _paper(width: int, layers: int, heads: int, top: int, relative: bool = True) -> dict[str, Any]:
    shape: dict[str, Any] = {"width": width, "layers": layers, "heads": heads, "hidden": 4 * width}
    return {
        "vision": VisionConfig(**shape, positions=not relative),
        "bert": BertConfig(**shape, context=40, placement="pre"),
        "top": top,
        "scale": 0.1 if relative else None,
        "relative": 196 if relative else 0,
    }


def _small(image_size: int, patch: int, width: int, layers: int, top: int, context: int) -> dict[str, Any]:
    shape: dict[str, Any] = {"width": width, "layers": layers, "heads": 4, "hidden": 2 * width}
    return {
        "vision": VisionConfig(image_size=image_size, patch=patch, **shape, class_token=False, position_std=0.5),
        "bert": BertConfig(
            vocabulary=4096, context=context, **shape, eps=1e-6, placement="pre", std=0.05, word_std=0.05
        ),
        "top": top,
        "scale": None,
        "relative": 0,
        "tied": True,
        "pool": "mean",
        "mask_id": 3,
    }


@dataclass(frozen=True)
class VLMoConfig(Config):
    """`vision` shapes the shared Transformer and its pictures, `bert` the words and their head, equally wide. The `top`
    layers have a VL-expert. `scale` is LayerScale's start, None for none. `relative` is the longest text for which the
    table of relative positions has rows; 0 for no such table. `tied` makes the word table the output layer of MLM."""

    vision: VisionConfig = field(default_factory=lambda: VisionConfig(positions=False))
    bert: BertConfig = field(default_factory=lambda: BertConfig(context=40, placement="pre"))
    top: int = 2
    scale: float | None = 0.1
    relative: int = 196
    experts: bool = True
    tied: bool = False
    pool: str = "first"
    temperature: float = 0.07
    mask_id: int = 103

    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "micro": _small(48, 12, 96, layers=3, top=1, context=24),
        "small": _small(64, 8, 192, layers=6, top=2, context=40),
        "Base": _paper(768, 12, 12, top=2),
        "Base+": _paper(544, 24, 16, top=3, relative=False),
        "Large": _paper(1024, 24, 16, top=3),
    }

    def __post_init__(self) -> None:
        if not 0 <= self.top <= self.vision.layers:
            raise ValueError(f"VLMoConfig: top is {self.top} of {self.vision.layers} layers; give 0 to all of them")
        if self.vision.width != self.bert.width:
            raise ValueError(
                f"VLMoConfig: patches are {self.vision.width} wide and words {self.bert.width}; one Transformer reads "
                "both, so give them one width"
            )


@dataclass
class VLMoOutput(Matched):
    """`image` and `text` are L2-normalised, of the dual encoder; `fused` are the text's tokens beside the picture."""

    image: Float[Tensor, "b d"]
    text: Float[Tensor, "b d"]
    fused: Float[Tensor, "b n width"]
    matching: Float[Tensor, "b 2"]


def expert_block(config: VLMoConfig, depth: int) -> Block:
    """x + a Attention(LN x), then x + c Expert(x): each expert owns its norm; attention, its norm, a and c are shared.

    The `top` layers have a third expert. With `experts=False` all tokens share one feed-forward and its norm.
    """
    vision = config.vision
    scale = None if config.scale is None else torch.full((vision.width,), config.scale)
    norm = partial(nn.LayerNorm, vision.width, vision.eps)
    feed = partial(FeedForward, vision.width, vision.hidden)
    residual = partial(Residual, scale=scale, drop=vision.drop_at(depth))
    names = ("vision", "language", "both")[: 3 if depth >= vision.layers - config.top else 2]
    experts = Experts(**{name: nn.Sequential(norm(), feed()) for name in names}) if config.experts else None
    return Block(
        attention=residual(norm(), Attention(vision.width, vision.heads, k_bias=False)),
        mlp=residual(norm(), feed()) if experts is None else residual(nn.Identity(), experts),
    )


def _blueprint(config: VLMoConfig) -> tuple[Part, ...]:
    vision, bert = config.vision, config.bert
    tokens = drawn.shape(vision.tokens, vision.width)
    kind = "an expert by kind of token" if config.experts else "one feed-forward for all tokens"
    branches = (
        Branch("attention", "self-attention", f"{vision.heads} heads"),
        Branch("mlp", kind, f"{vision.hidden} wide"),
    )
    blocks = Blocks("shared.blocks", vision.layers, branches)
    layers = vision.layers - config.top
    routes = (
        Line("", "image alone: vision experts"),
        Line("", "text alone: language experts"),
        Line("", f"pair, layers 1 to {layers}: each token its own"),
        Line("", f"pair, from layer {layers + 1}: vision-language"),
    )
    relative = (Line("relative", "added to the logits", "by offset"),) if config.relative else ()
    patches = [Line("shared.patches", "linear layer", f"{vision.patch}×{vision.patch} px")]
    if vision.class_token:
        patches.append(Line("shared.class_token", "put before them"))
    if vision.positions:
        patches.append(Line("shared.positions", "added", tokens))
    pooled, unit = drawn.pooling(config.pool), Line("normalize", "unit length", call=True)
    output = () if config.tied else (Line("decoder", "output layer", f"{bert.vocabulary:,}"),)
    alone = "the Transformer below"
    image_vector = (
        Line("image_tokens", alone, call=True),
        pooled,
        Line("image_projection", "linear layer, no bias"),
        unit,
    )
    text_vector = (
        Line("text_tokens", alone, call=True),
        pooled,
        Line("text_projection", "linear layer, no bias"),
        unit,
    )
    routed = routes if config.experts else ()
    shared = (
        Line("modality", "of image or text, added"),
        *relative,
        blocks,
        *routed,
        Line("shared.norm", "last LayerNorm"),
    )
    match = (pooled, Line("pooler", "linear layer, tanh"), Line("match", "linear layer, yes or no"))
    learned, vectors = (Line("log_scale", "learned"),), ("image vector", "text vector")
    one, both, words = "one Transformer for image, text and pair", ("patches", "embedding"), f"{bert.vocabulary:,}"
    length = f"(n + {vision.tokens}) × {vision.width}"
    return (
        drawn.image(vision),
        drawn.text(bert.context),
        Part("", "patches", "left", ("image",), tuple(patches), out=tokens, key="patches"),
        drawn.bert_embedding(bert),
        Part("", "image alone", "left", ("patches",), image_vector, out=f"{vision.width}", key="image vector"),
        Part("", "text alone", "right", ("embedding",), text_vector, out=f"{bert.width}", key="text vector"),
        Part("ITC", "contrast of all pairs", inputs=vectors, items=learned, role="loss", pairs=True),
        Part("", one, inputs=both, items=shared, out=length, key="tokens"),
        Part("", "pair: do the two match?", "left", ("tokens",), match, out="2", key="pair"),
        Part(
            "",
            "pair: hidden words",
            "right",
            ("tokens",),
            (Line("word", "BERT's head"), *output),
            out=words,
            key="words",
        ),
        Part("ITM", "matching; hard negatives, found by ITC", "left", ("pair",), role="loss"),
        Part("MLM", "masked words", "right", ("words",), role="loss"),
    )


class VLMo(UnitVectors, PaperModel):
    Config = VLMoConfig
    CARD = Card(
        paper="VLMo: Unified Vision-Language Pre-Training with Mixture-of-Modality-Experts",
        arxiv="2111.02358",
        towers="none: one Transformer, a feed-forward expert for each modality",
        fusion="self-attention over words and patches; vision-language experts in the top layers",
        objectives=("contrast (ITC)", "image-text matching (ITM), hard negatives", "masked words (MLM)"),
        frozen="in the text stage: attention and the vision experts",
        output="embeddings, matching score, words",
    )
    BLUEPRINT = staticmethod(_blueprint)
    config: VLMoConfig

    def __init__(self, config: VLMoConfig):
        super().__init__(config)
        vision, bert = config.vision, config.bert
        self.embedding = BertEmbedding(bert)
        self.modality = nn.Embedding(2, bert.width)
        self.shared = VisionTransformer(vision, partial(expert_block, config))
        side = vision.image_size // vision.patch
        self.relative = PairPositions(side, config.relative, vision.heads, vision.layers) if config.relative else None
        self.image_projection = nn.Linear(vision.width, vision.width, bias=False)
        self.text_projection = nn.Linear(bert.width, bert.width, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(config.temperature)))
        self.pooler = BertPooler(bert.width)
        self.match = nn.Linear(bert.width, 2)
        self.word = WordPredictor(bert)
        self.decoder = None if config.tied else nn.Embedding(bert.vocabulary, bert.width)
        heads = (self.image_projection, self.text_projection, self.pooler, self.match, self.word)
        for part in (self.shared.blocks, *heads):
            init_normal(part, bert.std)
        for table in (self.modality, self.decoder):
            if table is not None:
                nn.init.normal_(table.weight, std=bert.std)

    def _patches(self, image: Float[Tensor, "b c size size"]) -> Float[Tensor, "b k width"]:
        check_images(image, self.config.vision.image_size, self.config.vision.channels)
        return self.shared.embed(self.shared.patches(image)) + self.modality.weight[IMAGE]

    def _words(self, ids: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b n width"]:
        check_texts(ids, mask, self.config.bert.vocabulary)
        words = self.embedding
        # Where positions are relative, the official code holds BERT's position table and leaves it out of the sum.
        if self.relative is None:
            alone = words(ids)
        else:
            alone = words.norm(words.words(ids) + (0 if words.types is None else words.types.weight[0]))
        return alone + self.modality.weight[TEXT]

    def _run(
        self, x: Float[Tensor, "b n width"], routes: Sequence[Route], words: int, mask: Mask | None = None
    ) -> Tensor:
        """All layers, each along its route, and the last norm. `words` of the tokens are a text's."""
        each: list[dict[str, dict[str, Any]]] = [
            {"mlp": {"route": route}} if self.config.experts else {} for route in routes
        ]
        if self.relative is not None:
            for inputs, bias in zip(each, self.relative(words, image=x.shape[1] > words), strict=True):
                inputs["attention"] = {"bias": bias}
        return self.shared.norm(self.shared.blocks(x, each=each, attention={"mask": mask}))

    def image_tokens(self, image: Float[Tensor, "b c size size"]) -> Float[Tensor, "b k width"]:
        """Pictures alone: vision experts in every layer."""
        x = self._patches(image)
        return self._run(x, [[("vision", x.shape[1])]] * self.config.vision.layers, words=0)

    def text_tokens(self, ids: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b n width"]:
        """Texts alone: language experts in every layer. `mask` is True at real tokens."""
        n = ids.shape[1]
        return self._run(self._words(ids, mask), [[("language", n)]] * self.config.vision.layers, n, Mask(padding=mask))

    def fuse(
        self, ids: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"], image: Float[Tensor, "b c size size"]
    ) -> Float[Tensor, "b m width"]:
        """Pairs: the `n` tokens of the text, padding included, and behind them the picture's; see `routes`."""
        words, patches = self._words(ids, mask), self._patches(image)
        real = F.pad(mask, (0, patches.shape[1]), value=True)
        x = torch.cat([words, patches], dim=1)
        return self._run(x, self.routes(words.shape[1], patches.shape[1]), words.shape[1], Mask(padding=real))

    def routes(self, words: int, patches: int) -> list[Route]:
        """The route of a pair through each layer: apart below, one expert for all tokens in the top layers."""
        apart: Route = [("language", words), ("vision", patches)]
        together: Route = [("both", words + patches)]
        return [apart] * (self.config.vision.layers - self.config.top) + [together] * self.config.top

    def matching(self, fused: Float[Tensor, "b m width"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b 2"]:
        """From the pair's text tokens, which stand first."""
        return self.match(self.pooler(pool(fused[:, : mask.shape[1]], self.config.pool, mask)))

    def words(self, tokens: Float[Tensor, "m width"]) -> Float[Tensor, "m vocabulary"]:
        """Logits of the words at `m` places."""
        return self.word(tokens, self.embedding.words if self.decoder is None else self.decoder)

    def predict_words(
        self,
        image: Float[Tensor, "b c size size"],
        ids: Int[Tensor, "b n"],
        mask: Bool[Tensor, "b n"],
        hidden: Bool[Tensor, "b n"],
    ) -> Float[Tensor, "m vocabulary"]:
        """Logits of the words at the `m` places called `hidden`."""
        return self.words(self.fuse(ids, mask, image)[:, : ids.shape[1]][hidden])

    def forward(
        self, image: Float[Tensor, "b c size size"], ids: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"]
    ) -> VLMoOutput:
        fused = self.fuse(ids, mask, image)
        matching = self.matching(fused, mask)
        return VLMoOutput(self.encode_image(image), self.encode_text(ids, mask), fused[:, : ids.shape[1]], matching)
