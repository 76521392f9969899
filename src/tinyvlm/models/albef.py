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

Deviations and choices:
- Keys of all processes are gathered, so that contrast and queue see N processes as one with N times the batch (the
  official code contrasts with its own process's keys). Negatives for matching come from a process's own batch.
- Negatives that are none are left out *before* the softmax of similarities, so that a row of zeros cannot arise;
  captions of equal scenes are none (official: the diagonal only).
- [SEP] is never masked (the official code may mask it); which words are, the caller says. No crops or RandAugment.
- `micro` and `small` read pictures and texts by the mean of their tokens, as in week 3, and have no class token. The
  course's texts open with BOS, which stands for [CLS].
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tinyvlm.config import Config
from tinyvlm.encoders.bert import BertConfig, BertEmbedding, WordPredictor, bert_blocks, last_norm
from tinyvlm.encoders.init import init_normal
from tinyvlm.encoders.vision import VisionConfig, VisionTransformer, normalise
from tinyvlm.layers.attention import Attention
from tinyvlm.layers.feedforward import FeedForward
from tinyvlm.layers.masks import Mask
from tinyvlm.layers.poolers import pool
from tinyvlm.layers.residual import Block, Residual, Stack
from tinyvlm.models.base import Card, PaperModel
from tinyvlm.models.task import Batch, Task, Term, same_scene
from tinyvlm.objectives.contrastive import Gather, gather_with_gradient
from tinyvlm.objectives.distillation import momentum_contrast
from tinyvlm.objectives.masking import mask_tokens, masked_loss
from tinyvlm.objectives.matching import draw_negatives, matching_loss
from tinyvlm.objectives.momentum import FeatureQueue, MomentumTwin


def _size(image_size: int, patch: int, width: int, layers: tuple[int, int, int], context: int) -> dict[str, Any]:
    image, text, fusion = layers
    vision = VisionConfig(
        image_size=image_size, patch=patch, width=width, layers=image, heads=4, hidden=2 * width, class_token=False,
        position_std=0.5,
    )  # fmt: skip
    bert = BertConfig(
        vocabulary=4096, context=context, width=width, layers=text + fusion, heads=4, hidden=2 * width, eps=1e-5,
        std=0.05, word_std=0.05,
    )  # fmt: skip
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
        for part in (self.vision.blocks, self.text, self.fusion, self.image_projection, self.text_projection,
                     self.match, self.word):  # fmt: skip
            init_normal(part, bert.std)

    def text_tokens(self, ids: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b n width"]:
        """`mask` is True at real tokens."""
        return self.text_norm(self.text(self.embedding(ids), attention={"mask": Mask(padding=mask)}))

    def embed_image(self, tokens: Float[Tensor, "b k width"]) -> Float[Tensor, "b d"]:
        return F.normalize(self.image_projection(pool(tokens, self.config.pool)), dim=-1)

    def embed_text(self, tokens: Float[Tensor, "b n width"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b d"]:
        return F.normalize(self.text_projection(pool(tokens, self.config.pool, mask)), dim=-1)

    def fuse(
        self, text: Float[Tensor, "b n width"], mask: Bool[Tensor, "b n"], image: Float[Tensor, "b k image_width"]
    ) -> Float[Tensor, "b n width"]:
        """Text tokens that have looked at the picture."""
        return self.fusion_norm(self.fusion(text, attention={"mask": Mask(padding=mask)}, cross={"context": image}))

    def matching(self, fused: Float[Tensor, "b n width"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b 2"]:
        return self.match(pool(fused, self.config.pool, mask))

    def encode_image(self, image: Float[Tensor, "b c size size"]) -> Float[Tensor, "b d"]:
        """Pictures as unit vectors."""
        return self.embed_image(self.vision(image))

    def encode_text(self, ids: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b d"]:
        """Texts as unit vectors."""
        return self.embed_text(self.text_tokens(ids, mask), mask)

    def predict_words(
        self, image: Float[Tensor, "b c size size"], ids: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"],
        hidden: Bool[Tensor, "b n"],
    ) -> Float[Tensor, "m vocabulary"]:  # fmt: skip
        """Logits of the words at the `m` places called `hidden`."""
        return self.word(self(image, ids, mask).fused[hidden], self.embedding.words)

    def forward(
        self, image: Float[Tensor, "b c size size"], ids: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"]
    ) -> ALBEFOutput:
        seen, read = self.vision(image), self.text_tokens(ids, mask)
        fused = self.fuse(read, mask, seen)
        return ALBEFOutput(self.embed_image(seen), self.embed_text(read, mask), fused, self.matching(fused, mask))


class ALBEFTask(Task):
    """Pre-training (section 3.2 and 3.3): ITC against a momentum twin's keys, ITM on hard negatives, MLM.

    Args:
        model: the network.
        rates: how often each word is hidden, by id; 0 for special tokens.
        itc, itm, mlm: leave an objective out. Without ITC negatives are drawn at random.
        hard: draw negatives by similarity; False draws them at random.
        momentum: of the twin (0.995 in the paper); queue: features kept per modality (65,536; 0: none).
        alpha: weight of the twin's soft targets, reached linearly after `ramp` updates (the paper: 0.4, an epoch).
        gather: where keys come from; by default all processes.

    `batch["negatives"]` [b, n, length] with `negatives_text_mask` and `negatives_mask` [b, n], where given, are further
    wrong captions of each picture for ITM: not in the paper, the chapter's comparison.
    """

    model: ALBEF
    updates: Tensor

    def __init__(
        self, model: ALBEF, rates: Float[Tensor, " vocabulary"], *, itc: bool = True, itm: bool = True,
        mlm: bool = True, hard: bool = True, momentum: float = 0.995, queue: int = 65536, alpha: float = 0.4,
        ramp: int = 1000, gather: Gather = gather_with_gradient,
    ):  # fmt: skip
        super().__init__()
        if not (itc or itm or mlm):
            raise ValueError("ALBEFTask: itc, itm and mlm are all off, so that nothing would be learnt; keep one")
        self.model, self.rates, self.gather = model, rates, gather
        self.itc, self.itm, self.mlm, self.hard = itc, itm, mlm, hard and itc
        self.alpha, self.ramp = alpha, ramp
        self.twin = MomentumTwin(model, momentum, leave_out=("match", "temperature"))
        width = model.config.embedding
        self.image_queue = FeatureQueue(queue, width) if queue and itc else None
        self.text_queue = FeatureQueue(queue, width) if queue and itc else None
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self._keys: tuple[Tensor, Tensor] | None = None

    def before_step(self) -> None:
        self.twin.update()

    def prepare(self, batch: Batch, rng: torch.Generator) -> Batch:
        """Masks, uniforms for the negatives, and all that the twin says; no gradient."""
        text, mask, teacher = batch["text"], batch["text_mask"], cast(ALBEF, self.twin.network)
        drawn = {**batch, "image": normalise(batch["image"]), "forbidden": same_scene(batch)}
        drawn["uniforms"] = torch.rand(2, len(text), generator=rng).to(text.device)
        drawn["alpha"] = self.alpha * (self.updates / max(1, self.ramp)).clamp_max(1.0)
        if self.mlm:
            drawn["masked"], drawn["chosen"] = mask_tokens(text, self.rates, self.model.config.mask_id, rng)
        soft_words = self.mlm and self.alpha > 0
        if self.itc or soft_words:
            seen = teacher.vision(drawn["image"])
        if self.itc:
            drawn["image_keys"] = teacher.embed_image(seen)
            drawn["text_keys"] = teacher.embed_text(teacher.text_tokens(text, mask), mask)
            (images, first), (texts, _) = self.gather(drawn["image_keys"]), self.gather(drawn["text_keys"])
            self._keys = images, texts
            drawn["own"] = first + torch.arange(len(text), device=text.device)
            old = [] if self.image_queue is None else [self.image_queue.features]
            drawn["image_candidates"] = torch.cat([images, *old])
            old = [] if self.text_queue is None else [self.text_queue.features]
            drawn["text_candidates"] = torch.cat([texts, *old])
        if soft_words:
            fused = teacher.fuse(teacher.text_tokens(drawn["masked"], mask), mask, seen)
            drawn["teacher_words"] = teacher.word(fused[drawn["chosen"]], teacher.embedding.words)
        return drawn

    def forward(self, batch: Batch) -> dict[str, Term]:
        mask, pairs, terms = batch["text_mask"], len(batch["text"]), {}
        seen, (read, *more), masks = self.model.vision(batch["image"]), *self._read(batch)
        nearest_text = nearest_image = seen.new_zeros(pairs, pairs)
        if self.itc:
            image, text = self.model.embed_image(seen), self.model.embed_text(read, mask)
            terms["ITC"] = self._contrast(image, text, batch)
            if self.hard:
                nearest_text, nearest_image = (
                    one.detach() @ keys.T / self.model.temperature
                    for one, keys in ((image, batch["text_keys"]), (text, batch["image_keys"]))
                )
        # What is to be fused, as rows of (text, its mask, picture), all in one pass: the pairs, a wrong picture for
        # each text, a wrong text for each picture, further wrong texts; and masked texts.
        rows = []
        if self.itm:
            wrong = draw_negatives(nearest_image, batch["forbidden"], batch["uniforms"][0])
            other = draw_negatives(nearest_text, batch["forbidden"], batch["uniforms"][1])
            rows = [(read, mask, seen), (read, mask, seen[wrong]), (read[other], mask[other], seen)]
            rows += [(*extra, seen) for extra in zip(more, masks[1:], strict=True)][: len(more) - self.mlm]
        if self.mlm:
            rows.append((more[-1], mask, seen))
        if rows:
            texts, real, pictures = (torch.cat(parts) for parts in zip(*rows, strict=True))
            fused, asked = self.model.fuse(texts, real, pictures), pairs * (len(rows) - self.mlm)
            if self.itm:
                terms["ITM"] = self._match(fused[:asked], real[:asked], batch)
            if self.mlm:
                terms["MLM"] = self._predict(fused[asked:], batch)
        return terms

    def _read(self, batch: Batch) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        """Tokens and masks of the captions, of further wrong ones and of the masked ones; one pass of the tower."""
        texts, masks = [batch["text"]], [batch["text_mask"]]
        if self.itm and "negatives" in batch:
            texts += batch["negatives"].unbind(1)
            masks += batch["negatives_text_mask"].unbind(1)
        if self.mlm:
            texts, masks = [*texts, batch["masked"]], [*masks, batch["text_mask"]]
        return self.model.text_tokens(torch.cat(texts), torch.cat(masks)).chunk(len(texts)), masks

    def _contrast(self, image: Tensor, text: Tensor, batch: Batch) -> Term:
        scale, own, alpha = 1 / self.model.temperature, batch["own"], batch["alpha"]
        teachers = (batch["image_keys"], batch["text_keys"]) if self.alpha > 0 else (None, None)
        toward_text = momentum_contrast(image, batch["text_candidates"], scale, own, teachers[0], alpha)
        toward_image = momentum_contrast(text, batch["image_candidates"], scale, own, teachers[1], alpha)
        return Term(((toward_text + toward_image) / 2).sum(), torch.tensor(len(image), device=image.device))

    def _match(self, fused: Tensor, real: Tensor, batch: Batch) -> Term:
        pairs, rows = len(batch["text"]), len(fused)
        asked = fused.new_ones(rows, dtype=torch.bool)
        if "negatives" in batch:  # swaps that the scene does not admit
            asked[3 * pairs :] = batch["negatives_mask"].T.flatten()
        loss = matching_loss(self.model.matching(fused, real), torch.arange(rows, device=fused.device) < pairs)
        return Term(loss[asked].sum(), asked.sum())

    def _predict(self, fused: Tensor, batch: Batch) -> Term:
        logits = self.model.word(fused[batch["chosen"]], self.model.embedding.words)
        loss = masked_loss(logits, batch["text"][batch["chosen"]], batch.get("teacher_words"), batch["alpha"])
        return Term(loss.sum(), batch["chosen"].sum())

    @torch.no_grad()
    def after_step(self) -> None:
        """The batch's keys join the queues, after the loss that must not count them as negatives."""
        self.model.temperature.clamp_(*self.model.config.temperature_range)
        self.updates += 1
        if self._keys is not None and self.image_queue is not None and self.text_queue is not None:
            self.image_queue.enqueue(self._keys[0])
            self.text_queue.enqueue(self._keys[1])
