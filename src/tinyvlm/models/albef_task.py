"""How ALBEF is pre-trained (Li et al., arXiv 2107.07651, sections 3.2 and 3.3): three losses and a momentum twin.

    ITC   image and text vectors against the twin's, of this batch and of the queues
    ITM   pairs, and swapped pairs whose negatives are drawn by similarity
    MLM   hidden words of masked pairs

The fusion encoder gets three groups of rows for ITM and MLM, `pairs`, `swapped` and `masked`, fused in one pass.

Deviations and choices:
- Keys of all processes are gathered, so that contrast and queue see N processes as one with N times the batch (the
  official code contrasts with its own process's keys). Negatives for matching come from a process's own batch.
- Negatives that are none are left out *before* the softmax of similarities, so that a row of zeros cannot arise;
  captions of equal scenes are none (official: the diagonal only).
- [SEP] is never masked (the official code may mask it); which words are, the caller says. No crops or RandAugment.
"""

from itertools import chain
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

from tinyvlm.models.albef import ALBEF
from tinyvlm.models.task import Batch, Task, Term, same_scene
from tinyvlm.objectives.contrastive import Gather, gather_with_gradient
from tinyvlm.objectives.distillation import momentum_contrast
from tinyvlm.objectives.masking import mask_tokens, masked_loss
from tinyvlm.objectives.matching import draw_negatives, matching_loss
from tinyvlm.objectives.momentum import FeatureQueue, MomentumTwin


class Rows(NamedTuple):
    """Rows for the fusion encoder: text tokens, which of them are real, image tokens."""

    text_tokens: Tensor
    mask: Tensor
    image_tokens: Tensor


class Fused(NamedTuple):
    """A group's text tokens after the fusion encoder, and which of them are real."""

    tokens: Tensor
    mask: Tensor


class ALBEFTask(Task):
    """Pre-training: ITC against a momentum twin's keys, ITM on hard negatives, MLM.

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
        self,
        model: ALBEF,
        rates: Float[Tensor, " vocabulary"],
        *,
        itc: bool = True,
        itm: bool = True,
        mlm: bool = True,
        hard: bool = True,
        momentum: float = 0.995,
        queue: int = 65536,
        alpha: float = 0.4,
        ramp: int = 1000,
        gather: Gather = gather_with_gradient,
    ):
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

    def before_step(self) -> None:
        self.twin.update()

    def prepare(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch with normalised pictures, and these keys.

        forbidden         bool [b, b]       caption j (column) is true of picture i (row), so that it is no negative
        uniforms          [2, b]            draw a wrong picture per text, and a wrong text per picture
        alpha             scalar            weight of the twin's soft targets at this update
        with MLM
        masked, chosen    [b, n]            ids with words hidden, and where (bool)
        teacher_words     [m, vocabulary]   the twin's logits at the m chosen places, where alpha is above 0
        with ITC
        image_keys, text_keys               [b, d]  the twin's unit vectors of this batch
        new_image_keys, new_text_keys       [B, d]  those of all processes; they join the queues after the step
        image_candidates, text_candidates   [B + queue, d]  those, and the queue behind them
        own               [b]               the candidate that is a row's own pair
        """
        text, mask, teacher = batch["text"], batch["text_mask"], cast(ALBEF, self.twin.network)
        ready = {**super().prepare(batch, rng), "forbidden": same_scene(batch)}
        ready["uniforms"] = torch.rand(2, len(text), generator=rng).to(text.device)
        ready["alpha"] = self.alpha * (self.updates / max(1, self.ramp)).clamp_max(1.0)
        if self.mlm:
            ready["masked"], ready["chosen"] = mask_tokens(text, self.rates, self.model.config.mask_id, rng)
        soft_words = self.mlm and self.alpha > 0
        if self.itc or soft_words:
            image_tokens = teacher.vision(ready["image"])
        if self.itc:
            ready["image_keys"] = teacher.embed_image(image_tokens)
            ready["text_keys"] = teacher.embed_text(teacher.text_tokens(text, mask), mask)
            for name, queue in (("image", self.image_queue), ("text", self.text_queue)):
                new, first = self.gather(ready[f"{name}_keys"])
                ready[f"new_{name}_keys"] = new
                ready[f"{name}_candidates"] = new if queue is None else torch.cat([new, queue.features])
            ready["own"] = first + torch.arange(len(text), device=text.device)
        if soft_words:
            fused = teacher.fuse(teacher.text_tokens(ready["masked"], mask), mask, image_tokens)
            ready["teacher_words"] = teacher.word(fused[ready["chosen"]], teacher.embedding.words)
        return ready

    def forward(self, batch: Batch) -> dict[str, Term]:
        image_tokens, texts, terms = self.model.vision(batch["image"]), self._read(batch), {}
        text_tokens, mask = texts["true"][0]
        image_to_text = text_to_image = image_tokens.new_zeros(len(mask), len(mask))
        if self.itc:
            image, text = self.model.embed_image(image_tokens), self.model.embed_text(text_tokens, mask)
            terms["ITC"] = self._contrast(image, text, batch)
            if self.hard:
                image_to_text = image.detach() @ batch["text_keys"].T / self.model.temperature
                text_to_image = text.detach() @ batch["image_keys"].T / self.model.temperature
        groups: dict[str, list[Rows]] = {}
        if self.itm:
            wrong_image = draw_negatives(text_to_image, batch["forbidden"], batch["uniforms"][0])
            wrong_text = draw_negatives(image_to_text, batch["forbidden"], batch["uniforms"][1])
            groups["pairs"] = [Rows(text_tokens, mask, image_tokens)]
            groups["swapped"] = [
                Rows(text_tokens, mask, image_tokens[wrong_image]),
                Rows(text_tokens[wrong_text], mask[wrong_text], image_tokens),
                *(Rows(*caption, image_tokens) for caption in texts["wrong"]),
            ]
        if self.mlm:
            groups["masked"] = [Rows(*caption, image_tokens) for caption in texts["masked"]]
        fused = self._fuse(groups)
        if self.itm:
            terms["ITM"] = self._match(fused["pairs"], fused["swapped"], batch)
        if self.mlm:
            terms["MLM"] = self._predict(fused["masked"], batch)
        return terms

    def _read(self, batch: Batch) -> dict[str, list[tuple[Tensor, Tensor]]]:
        """Text tokens and masks of the true captions, of further wrong ones and of the masked ones, in one pass."""
        texts = {"true": [(batch["text"], batch["text_mask"])], "wrong": [], "masked": []}
        if self.itm and "negatives" in batch:
            wrong = batch["negatives"].unbind(1), batch["negatives_text_mask"].unbind(1)
            texts["wrong"] = list(zip(*wrong, strict=True))
        if self.mlm:
            texts["masked"] = [(batch["masked"], batch["text_mask"])]
        ids, masks = (torch.cat(parts) for parts in zip(*chain(*texts.values()), strict=True))
        tokens = iter(self.model.text_tokens(ids, masks).split(len(batch["text"])))
        return {name: [(next(tokens), mask) for _, mask in group] for name, group in texts.items()}

    def _fuse(self, groups: dict[str, list[Rows]]) -> dict[str, Fused]:
        """Every group's fused tokens, in one pass."""
        if not groups:
            return {}
        text, mask, image = (torch.cat(parts) for parts in zip(*chain(*groups.values()), strict=True))
        sizes = [sum(len(rows.mask) for rows in group) for group in groups.values()]
        fused = zip(self.model.fuse(text, mask, image).split(sizes), mask.split(sizes), strict=True)
        return {name: Fused(*one) for name, one in zip(groups, fused, strict=True)}

    def _contrast(self, image: Tensor, text: Tensor, batch: Batch) -> Term:
        """ITC (equations 2 and 6): both ways, against the candidates of the other modality."""
        scale, own, alpha = 1 / self.model.temperature, batch["own"], batch["alpha"]
        teachers = (batch["image_keys"], batch["text_keys"]) if self.alpha > 0 else (None, None)
        toward_text = momentum_contrast(image, batch["text_candidates"], scale, own, teachers[0], alpha)
        toward_image = momentum_contrast(text, batch["image_candidates"], scale, own, teachers[1], alpha)
        return Term.of((toward_text + toward_image) / 2)

    def _match(self, pairs: Fused, swapped: Fused, batch: Batch) -> Term:
        """ITM (equation 4): pairs belong together, swapped ones do not."""
        tokens, mask = (torch.cat(parts) for parts in zip(pairs, swapped, strict=True))
        matched = torch.arange(len(mask), device=mask.device) < len(pairs.mask)
        counted = torch.ones_like(matched)
        if "negatives" in batch:  # the scene does not admit every change; they stand behind the two swaps
            counted[3 * len(pairs.mask) :] = batch["negatives_mask"].T.flatten()
        return Term.of(matching_loss(self.model.matching(tokens, mask), matched), counted)

    def _predict(self, masked: Fused, batch: Batch) -> Term:
        """MLM (equations 3 and 7): the hidden words."""
        logits = self.model.word(masked.tokens[batch["chosen"]], self.model.embedding.words)
        words = batch["text"][batch["chosen"]]
        return Term.of(masked_loss(logits, words, batch.get("teacher_words"), batch["alpha"]))

    @torch.no_grad()
    def after_step(self, batch: Batch) -> None:
        """The batch's keys join the queues, after the loss that must not count them as negatives."""
        self.model.temperature.clamp_(*self.model.config.temperature_range)
        self.updates += 1
        if self.image_queue is not None and self.text_queue is not None:
            self.image_queue.enqueue(batch["new_image_keys"])
            self.text_queue.enqueue(batch["new_text_keys"])
