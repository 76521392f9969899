"""How MaskVLM is pre-trained (Kwon et al., arXiv 2208.02131): four losses, added up without weights.

    ITC   vectors of clean pictures and captions against all others of the batch
    ITM   clean pairs, and swapped pairs whose negatives are drawn by similarity
    MLM   hidden words, given the intact picture
    MIM   hidden pixels, given the intact caption

One modality is masked in each pass. "Joint" does not mean that both are masked in the same one. Clean and masked inputs
go through each encoder as one concatenated batch, and so do the rows of each cross-encoder.

Deviations and choices:
- ITM reads clean features. Whether the paper's does is not known to us: an unofficial re-implementation reads the
  masked ones. `itm_masked` switches.
- `both_masked` masks picture and caption of the same pass, the paper's comparison.
- Negatives of other processes are not used for matching; contrast gathers them. Captions of equal scenes are none.
- The pixels are raw and not normalised per patch. `power` 2 replaces the paper's L1 by L2: sprites cover less than
  half of a picture, so the median of a small model's uncertainty is background.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tinyvlm.models.maskvlm import MaskVLM
from tinyvlm.models.task import Batch, Task, Term, same_scene
from tinyvlm.objectives.contrastive import Gather, gather_with_gradient, info_nce
from tinyvlm.objectives.masking import mask_tokens, masked_loss
from tinyvlm.objectives.matching import draw_negatives, matching_loss
from tinyvlm.objectives.reconstruction import hidden_blocks, patchify, pixel_loss


class Encoded(NamedTuple):
    """Tokens of the two encoders, from clean and from masked inputs (the clean ones where nothing is masked)."""

    image: Tensor
    text: Tensor
    masked_image: Tensor
    masked_text: Tensor


class Rows(NamedTuple):
    """Rows for the cross-encoders: image tokens, text tokens, which of these are real."""

    image: Tensor
    text: Tensor
    mask: Tensor


def stacked(rows: list[Rows]) -> Rows:
    return Rows(*(torch.cat(parts) for parts in zip(*rows, strict=True)))


class MaskVLMTask(Task):
    """Pre-training: ITC, ITM on hard negatives, MLM and MIM.

    Args:
        model: the network.
        rates: how often each word is hidden, by id; 0 for special tokens (the paper: 0.3 for all words).
        block, share: side of a hidden square of the picture in pixels, and the part of them that is hidden.
        power: of the pixels' error; 1 is the paper's.
        itc, itm, mlm, mim: leave an objective out. Without ITC negatives are drawn at random.
        hard: draw negatives by similarity; False draws them at random.
        both_masked: rebuild each modality from the *masked* other one.
        itm_masked: matching reads the masked inputs' features.
        gather: where the contrast's candidates come from; by default all processes.
    """

    model: MaskVLM

    def __init__(
        self,
        model: MaskVLM,
        rates: Float[Tensor, " vocabulary"],
        *,
        block: int = 32,
        share: float = 0.6,
        power: int = 1,
        itc: bool = True,
        itm: bool = True,
        mlm: bool = True,
        mim: bool = True,
        hard: bool = True,
        both_masked: bool = False,
        itm_masked: bool = False,
        gather: Gather = gather_with_gradient,
    ):
        super().__init__()
        if not (itc or itm or mlm or mim):
            raise ValueError("MaskVLMTask: all four losses are off, so that nothing would be learnt; keep one")
        if itm_masked and not (mlm and mim):
            raise ValueError("MaskVLMTask: itm_masked reads what mlm and mim mask; keep both, or read clean features")
        self.model, self.rates, self.gather = model, rates, gather
        self.block, self.share, self.power = block, share, power
        self.itc, self.itm, self.mlm, self.mim, self.hard = itc, itm, mlm, mim, hard and itc
        self.both_masked, self.itm_masked = both_masked, itm_masked

    def prepare(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch with normalised pictures, and these keys.

        forbidden        bool [b, b]        caption j (column) is true of picture i (row), so that it is no negative
        uniforms         [2, b]             draw a wrong picture per text, and a wrong text per picture
        with MLM
        masked, chosen   [b, n]             ids with words hidden, and where (bool)
        with MIM
        hidden           bool [b, patches]  patches that are replaced by the mask token
        """
        text, vision = batch["text"], self.model.config.vision
        ready = {**super().prepare(batch, rng), "forbidden": same_scene(batch)}
        ready["uniforms"] = torch.rand(2, len(text), generator=rng).to(text.device)
        if self.mlm:
            ready["masked"], ready["chosen"] = mask_tokens(text, self.rates, self.model.config.mask_id, rng)
        if self.mim:
            sizes = vision.image_size, vision.patch, self.block
            ready["hidden"] = hidden_blocks(len(text), *sizes, self.share, rng).to(text.device)
        return ready

    def forward(self, batch: Batch) -> dict[str, Term]:
        model, mask, terms = self.model, batch["text_mask"], {}
        seen = self._encode(batch)
        similarity = seen.image.new_zeros(len(mask), len(mask))
        if self.itc:
            image, text = model.embed_image(seen.image), model.embed_text(seen.text, mask)
            terms["ITC"] = Term.of(info_nce(image, text, 1 / model.temperature, gather=self.gather))
            if self.hard:
                similarity = (image @ text.T / model.temperature).detach()
        for_image, for_text, pairs = self._matching_rows(seen, similarity, batch)
        # What each reconstruction is given of the other modality.
        given_image, given_text = (seen.masked_image, seen.masked_text) if self.both_masked else (seen.image, seen.text)
        if self.mim:
            for_image.append(Rows(seen.masked_image, given_text, mask))
        if self.mlm:
            for_text.append(Rows(given_image, seen.masked_text, mask))
        if for_image:
            rows = stacked(for_image)
            fused_image = model.fuse_image(rows.image, rows.text, rows.mask)
        if for_text:
            rows = stacked(for_text)
            fused_text = model.fuse_text(rows.text, rows.mask, rows.image)
        if self.itm:
            logits = model.matching(fused_image[:pairs], fused_text[:pairs], rows.mask[:pairs])
            matched = torch.arange(pairs, device=mask.device) < len(mask)
            terms["ITM"] = Term.of(matching_loss(logits, matched))
        if self.mlm:
            words = model.word(fused_text[pairs:][batch["chosen"]], model.embedding.words)
            terms["MLM"] = Term.of(masked_loss(words, batch["text"][batch["chosen"]]))
        if self.mim:
            painted = model.decode(fused_image[pairs:], given_text, mask)[batch["hidden"]]
            true = patchify(batch["image"], model.config.vision.patch)[batch["hidden"]]
            terms["MIM"] = Term.of(pixel_loss(painted, true, self.power))
        return terms

    def _encode(self, batch: Batch) -> Encoded:
        """Clean and masked inputs as one concatenated batch through each encoder."""
        image, text, mask, pairs = batch["image"], batch["text"], batch["text_mask"], len(batch["text"])
        hidden = None
        if self.mim:
            image = image.repeat(2, 1, 1, 1)
            hidden = torch.cat([torch.zeros_like(batch["hidden"]), batch["hidden"]])
        if self.mlm:
            text, mask = torch.cat([text, batch["masked"]]), mask.repeat(2, 1)
        images, texts = self.model.image_tokens(image, hidden), self.model.text_tokens(text, mask)
        return Encoded(images[:pairs], texts[:pairs], images[-pairs:], texts[-pairs:])

    def _matching_rows(self, seen: Encoded, similarity: Tensor, batch: Batch) -> tuple[list[Rows], list[Rows], int]:
        """Pairs, then wrong pictures, then wrong captions: for each cross-encoder, and how many rows these are.

        With masked features each cross-encoder gets its own modality masked, the other one intact.
        """
        if not self.itm:
            return [], [], 0
        mask, forbidden, uniforms = batch["text_mask"], batch["forbidden"], batch["uniforms"]
        own = torch.arange(len(mask), device=mask.device)
        wrong_image = draw_negatives(similarity.T, forbidden.T, uniforms[0])
        wrong_text = draw_negatives(similarity, forbidden, uniforms[1])
        i, t = torch.cat([own, wrong_image, own]), torch.cat([own, own, wrong_text])
        image = seen.masked_image if self.itm_masked else seen.image
        text = seen.masked_text if self.itm_masked else seen.text
        return [Rows(image[i], seen.text[t], mask[t])], [Rows(seen.image[i], text[t], mask[t])], len(i)

    @torch.no_grad()
    def after_step(self, batch: Batch) -> None:
        """The temperature stays in its range."""
        self.model.temperature.clamp_(*self.model.config.temperature_range)
