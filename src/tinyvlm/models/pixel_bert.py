"""Pixel-BERT: image pixels and text in one Transformer (Huang et al., arXiv 2004.00849, figure 2, section 3).

    picture -> CNN -> cells -> linear + s_v  \\
                                              one post-norm Transformer (BERT) -> [CLS] -> matching, answers
    caption -> words + places -> LayerNorm   /                                 -> words -> masked words

What is new since CLIP: one stream, in which every word attends to every cell from the first layer on; a convolutional
trunk trained with it; and two objectives on the fused pair instead of a comparison of two vectors.

Deviations and choices the paper leaves open:
- Pictures are square (the paper: shorter side 800, longer at most 1,333). ResNeXt-152 is left out. `micro` and `small`
  end at stride 8 without the 2x2 max pool, so that a small picture still has 36 or 64 cells.
- Cells carry no place of their own (none is described): geometry comes from the CNN alone.
- s_w, the words' shared vector, is BERT's segment 0.
- [CLS] passes BERT's pooler before matching and answers. The course's texts open with BOS, which stands for [CLS].
- Masked words are predicted on matched pairs only, matching is asked of unmasked captions, both in one pass. Half of
  the captions of a matching batch are another picture's (the paper: as many negatives as positives).
- `micro` and `small` read the pair off the mean of the words instead of [CLS] alone: a direct way into the loss.
- BatchNorm: live statistics while the trunk learns, frozen ones in both fine-tunings.
- The paper hides 15 % of the tokens; the rates are an argument here, because in captions of a template most words can
  be guessed from their neighbours, and hiding mostly nouns decides whether these are learnt at all.
- Questions and retrieval (section 4.2) are in `finetuning`; NLVR2 is left out. Dropout is off (BERT: 0.1).
- `micro` and `small`: feed-forwards of twice the width (BERT: four times), eps 1e-5, initial weights of std 0.05.
"""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tinyvlm import blueprint as drawn
from tinyvlm.blueprint import Blocks, Line, Part
from tinyvlm.config import Config
from tinyvlm.encoders.bert import BertConfig, BertEmbedding, BertPooler, WordPredictor, last_norm
from tinyvlm.encoders.init import init_normal
from tinyvlm.encoders.resnet import ResNet, ResNetConfig
from tinyvlm.layers.attention import Attention
from tinyvlm.layers.feedforward import FeedForward
from tinyvlm.layers.masks import Mask
from tinyvlm.layers.poolers import pool
from tinyvlm.layers.residual import Block, Residual, Stack
from tinyvlm.models.base import Card, PaperModel
from tinyvlm.models.task import Batch, Task, Term, same_scene
from tinyvlm.models.texts import check_texts
from tinyvlm.objectives.masking import mask_tokens, masked_loss
from tinyvlm.objectives.matching import matching_loss, shuffled_half


def _size(image_size: int, stem: int, width: int, layers: int, context: int) -> dict[str, Any]:
    trunk = ResNetConfig(
        image_size=image_size,
        stem=stem,
        small_stem=True,
        depths=(1, 1, 1),
        widths=(stem, 2 * stem, width),
        bottleneck=False,
    )
    bert = BertConfig(
        vocabulary=4096,
        context=context,
        width=width,
        layers=layers,
        heads=4,
        hidden=2 * width,
        eps=1e-5,
        std=0.05,
        word_std=0.05,
    )
    return {"trunk": trunk, "bert": bert, "max_pool": False, "pool": "mean", "mask_id": 3}


@dataclass(frozen=True)
class PixelBERTConfig(Config):
    """`max_pool` halves the CNN's last grid; `pool` makes a vector of the words; `answers`, 0 for no question head."""

    trunk: ResNetConfig = field(default_factory=lambda: ResNetConfig(image_size=800))
    bert: BertConfig = field(default_factory=BertConfig)
    max_pool: bool = True
    pool: str = "first"
    answers: int = 0
    mask_id: int = 103

    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "micro": _size(48, 24, 128, layers=3, context=24),
        "small": _size(64, 64, 256, layers=4, context=40),
        "R50": {},
    }


@dataclass
class PixelBERTOutput:
    """The stream's two ends, words and cells; `matching` is read off the pair's vector ([CLS] or the words' mean);
    `answers` is None without a head."""

    text_tokens: Float[Tensor, "b n width"]
    image_tokens: Float[Tensor, "b k width"]
    matching: Float[Tensor, "b 2"]
    answers: Float[Tensor, "b answers"] | None

    @property
    def score(self) -> Float[Tensor, " b"]:
        """How much rather the pair belongs together than not, as a logit."""
        return self.matching[:, 1] - self.matching[:, 0]


def stream_block(bert: BertConfig) -> Block:
    """BERT's layer as it is: the stream is new, and what goes into it."""

    def residual(branch: nn.Module) -> Residual:
        return Residual(nn.LayerNorm(bert.width, bert.eps), branch, placement=bert.placement, dropout=bert.dropout)

    return Block(
        attention=residual(Attention(bert.width, bert.heads)),
        mlp=residual(FeedForward(bert.width, bert.hidden, dropout=bert.dropout)),
    )


def _blueprint(config: PixelBERTConfig) -> tuple[Part, ...]:
    trunk, bert, width = config.trunk, config.bert, config.bert.width
    # The stem, its pool and every stage but the first halve the picture, rounding up.
    grid = -(-trunk.image_size // 2 ** (len(trunk.depths) + (not trunk.small_stem)))
    side = grid // 2 if config.max_pool else grid
    tokens = [Line("pool", "2×2 maximum")] if config.max_pool else []
    tokens.append(Line("sample_cells", "a random part, in training", call=True))
    tokens += [Line("projection", "linear layer"), Line("visual", "s_v, added to each")]
    match = Line("match", "linear layer, yes or no")
    vector = (drawn.pooling(config.pool), Line("pooler", "dense layer, tanh"), match)
    stack = Blocks("blocks", bert.layers, drawn.block(bert, bert.placement))
    parts = [
        drawn.image(trunk),
        drawn.text(bert.context),
        Part(
            "trunk",
            "convolutional network (ResNet)",
            "left",
            ("image",),
            size=f"{sum(trunk.depths)} units",
            out=drawn.shape(trunk.width, grid, grid),
        ),
        drawn.bert_embedding(bert),
        Part("", "cells as tokens", "left", ("trunk",), tuple(tokens), out=drawn.shape(side**2, width), key="cells"),
        Part(
            "",
            "one stream of words and cells",
            "full",
            ("cells", "embedding"),
            (stack,),
            size=f"n + {side**2} tokens",
            out=f"n × {width}",
            key="stream",
        ),
        Part("", "do the two match?", "left", ("stream",), vector, out="2", key="pair"),
        Part("word", "hidden words; output layer: word table", "right", ("stream",), out=f"{bert.vocabulary:,}"),
        Part("ITM", "matching; wrong captions at random", "left", ("pair",), role="loss"),
        Part("MLM", "masked words", "right", ("word",), role="loss"),
    ]
    if config.answers:
        parts.append(Part("answer", "MLP: an answer", "left", ("pair",), out=f"{config.answers:,} answers"))
    return tuple(parts)


class PixelBERT(PaperModel):
    Config = PixelBERTConfig
    CARD = Card(
        paper="Pixel-BERT: Aligning Image Pixels with Text by Deep Multi-Modal Transformers",
        arxiv="2004.00849",
        towers="one CNN, then one stream for both",
        fusion="self-attention over words and cells together",
        objectives=("masked words (MLM)", "image-text matching (ITM), random negatives"),
        frozen="nothing",
        output="matching score, words, answers",
    )
    BLUEPRINT = staticmethod(_blueprint)
    config: PixelBERTConfig

    def __init__(self, config: PixelBERTConfig):
        super().__init__(config)
        bert = config.bert
        self.trunk = ResNet(config.trunk)
        self.pool = nn.MaxPool2d(2) if config.max_pool else nn.Identity()
        self.projection = nn.Linear(config.trunk.width, bert.width)
        self.visual = nn.Parameter(torch.empty(bert.width))
        self.embedding = BertEmbedding(bert)
        self.blocks = Stack(stream_block(bert) for _ in range(bert.layers))
        self.norm = last_norm(bert)
        self.pooler = BertPooler(bert.width)
        self.word = WordPredictor(bert)
        self.match = nn.Linear(bert.width, 2)
        self.answer = answer_head(bert.width, config.answers) if config.answers else None
        nn.init.normal_(self.visual, std=bert.std)
        for part in (self.projection, self.blocks, self.pooler, self.word, self.match, self.answer):
            if part is not None:
                init_normal(part, bert.std)
        if isinstance(self.answer, nn.Sequential):
            # Every answer starts at a chance of 1 in N: at 1 in 2, the first updates would go into saying no N times.
            nn.init.constant_(cast(nn.Linear, self.answer[-1]).bias, -math.log(config.answers))

    def image_tokens(self, image: Float[Tensor, "b c size size"]) -> Float[Tensor, "b k width"]:
        """The CNN's feature map as tokens, cell by cell: v_i + s_v."""
        grid = self.pool(self.trunk(image))
        return self.projection(grid.flatten(2).transpose(1, 2)) + self.visual

    def fuse(
        self, image_tokens: Float[Tensor, "b k width"], ids: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"]
    ) -> PixelBERTOutput:
        """The single stream: words (`mask` is True at real ones), then cells, of which there may be none."""
        check_texts(ids, mask, self.config.bert.vocabulary)
        x = torch.cat([self.embedding(ids), image_tokens], dim=1)
        real = torch.cat([mask, mask.new_ones(image_tokens.shape[:2])], dim=1)
        x = self.norm(self.blocks(x, attention={"mask": Mask(padding=real)}))
        text_tokens, image_tokens = x.split([ids.shape[1], image_tokens.shape[1]], dim=1)
        pooled = self.pooler(pool(text_tokens, self.config.pool, mask))
        answers = None if self.answer is None else self.answer(pooled)
        return PixelBERTOutput(text_tokens, image_tokens, self.match(pooled), answers)

    def forward(
        self, image: Float[Tensor, "b c size size"], ids: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"]
    ) -> PixelBERTOutput:
        return self.fuse(self.image_tokens(image), ids, mask)

    def predict_words(
        self,
        image: Float[Tensor, "b c size size"],
        ids: Int[Tensor, "b n"],
        mask: Bool[Tensor, "b n"],
        hidden: Bool[Tensor, "b n"],
    ) -> Float[Tensor, "m vocabulary"]:
        """Logits of the words at the `m` places called `hidden`."""
        return self.word(self(image, ids, mask).text_tokens[hidden], self.embedding.words)


def answer_head(width: int, answers: int) -> nn.Module:
    """The question head, an MLP on the pair's vector (section 4.2; its shape is not described: this is ViLT's)."""
    return nn.Sequential(nn.Linear(width, 2 * width), nn.LayerNorm(2 * width), nn.GELU(), nn.Linear(2 * width, answers))


class PixelBERTTask(Task):
    """Pre-training (section 3.3): masked words and balanced matching, on a random subset of the cells.

    Args:
        model: the network.
        rates: how often each word is hidden, by id; 0 for special tokens.
        cells: cells drawn per picture and step, after the CNN (the paper: 100); all when None or when there are fewer.
        mlm, itm: False leaves that objective out.
        frozen_norm: hold BatchNorm's statistics.
    """

    model: PixelBERT

    def __init__(
        self,
        model: PixelBERT,
        rates: Float[Tensor, " vocabulary"],
        *,
        cells: int | None = None,
        mlm: bool = True,
        itm: bool = True,
        frozen_norm: bool = False,
    ):
        super().__init__()
        if not (mlm or itm):
            raise ValueError("PixelBERTTask: mlm and itm are both off, so that nothing would be learnt; keep one")
        self.model, self.rates, self.cells = model, rates, cells
        self.mlm, self.itm, self.frozen_norm = mlm, itm, frozen_norm

    def train(self, mode: bool = True) -> "PixelBERTTask":
        super().train(mode)
        if self.frozen_norm:
            self.model.trunk.eval()
        return self

    def prepare(self, batch: Batch, rng: torch.Generator) -> Batch:
        drawn = dict(super().prepare(batch, rng))
        if self.cells is not None:
            # One number a cell, for grids of at most 64 x 64.
            drawn["order"] = torch.rand(len(batch["text"]), 4096, generator=rng).to(batch["text"].device)
        if self.mlm:
            drawn["masked"], drawn["chosen"] = mask_tokens(batch["text"], self.rates, self.model.config.mask_id, rng)
        if self.itm:
            drawn["owner"], drawn["matched"] = shuffled_half(same_scene(batch), rng)
        return drawn

    def forward(self, batch: Batch) -> dict[str, Term]:
        text, mask, pairs = batch["text"], batch["text_mask"], len(batch["text"])
        image_tokens = self.model.image_tokens(batch["image"])
        if "order" in batch:
            image_tokens = sample_cells(image_tokens, batch["order"], self.cells)
        ids, real = [], []
        if self.mlm:
            ids, real = [batch["masked"]], [mask]
        if self.itm:
            ids, real = [*ids, text[batch["owner"]]], [*real, mask[batch["owner"]]]
        out = self.model.fuse(image_tokens.repeat(len(ids), 1, 1), torch.cat(ids), torch.cat(real))
        terms = {}
        if self.mlm:
            chosen = batch["chosen"]
            logits = self.model.word(out.text_tokens[:pairs][chosen], self.model.embedding.words)
            terms["MLM"] = Term.of(masked_loss(logits, text[chosen]))
        if self.itm:
            terms["ITM"] = Term.of(matching_loss(out.matching[-pairs:], batch["matched"]))
        return terms


def sample_cells(
    cells: Float[Tensor, "b k width"], order: Float[Tensor, "b most"], keep: int | None
) -> Float[Tensor, "b m width"]:
    """Random pixel sampling (section 3.3): each picture keeps its own `keep` cells, those of smallest `order`."""
    count = cells.shape[1]
    if keep is None or keep >= count:
        return cells
    chosen = order[:, :count].topk(keep, dim=1, largest=False).indices
    return cells.gather(1, chosen.unsqueeze(-1).expand(-1, -1, cells.shape[2]))
