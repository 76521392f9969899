"""How VLMo is pre-trained (Bao et al., arXiv 2111.02358): stage by stage, on texts and then on pairs.

    pictures   vision experts and attention learn from pictures alone (the paper starts from BEiT)
    texts      `VLMoTextTask`: MLM through the language experts; `TEXT_STAGE` names what learns, all else is frozen
    pairs      `VLMoTask`: ITC + ITM + w MLM

Each of the three losses of a pair has rows of its own: ITC reads pictures and captions alone, ITM and MLM read them
together, and only MLM's captions are masked. The rows of ITM and MLM are fused in one pass.

Deviations and choices:
- Negatives for matching come from a process's own batch (official: from all processes), and captions of equal scenes
  are none (official: the diagonal only). `negatives` per pair: the paper has two, a picture and a text.
- `random` lets matching draw its negatives at random for so many updates: the course's addition, see the chapter.
- Which words are hidden, the caller says (official: 15 %, whole words).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from tinyvlm.models.task import Batch, Task, Term, same_scene
from tinyvlm.models.vlmo import VLMo
from tinyvlm.objectives.contrastive import Gather, gather_with_gradient, info_nce
from tinyvlm.objectives.masking import mask_tokens, masked_loss
from tinyvlm.objectives.matching import draw_negatives, matching_loss

# What learns in the text stage (official code): text and modality tables, language experts with their norms, the word
# head, the relative positions, the last norm.
TEXT_STAGE = r"model\.(embedding|modality|relative|word|decoder|shared\.norm)\b|\.language\."


class VLMoTextTask(Task):
    """The text stage: hidden words of texts without pictures. `rates`: how often each word is hidden, by id."""

    model: VLMo

    def __init__(self, model: VLMo, rates: Float[Tensor, " vocabulary"]):
        super().__init__()
        self.model, self.rates = model, rates

    def prepare(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch with `masked` ids and where they were `chosen` (bool), both [b, n]."""
        masked, chosen = mask_tokens(batch["text"], self.rates, self.model.config.mask_id, rng)
        return {**super().prepare(batch, rng), "masked": masked, "chosen": chosen}

    def forward(self, batch: Batch) -> dict[str, Term]:
        tokens = self.model.text_tokens(batch["masked"], batch["text_mask"])
        return {"MLM": Term.of(masked_loss(self.model.words(tokens[batch["chosen"]]), batch["text"][batch["chosen"]]))}


class VLMoTask(Task):
    """The pair stage: ITC, ITM and MLM.

    Args:
        model: the network.
        rates: how often each word is hidden, by id; 0 for special tokens.
        itm: leave matching out.
        random: updates in which negatives are drawn at random, before they are drawn by similarity (the paper: 0).
        mlm_weight: of MLM in the sum of losses (0.25 in the official code).
        gather: where candidates of ITC come from; by default all processes.
    """

    model: VLMo
    updates: Tensor

    def __init__(
        self,
        model: VLMo,
        rates: Float[Tensor, " vocabulary"],
        *,
        itm: bool = True,
        random: int = 0,
        mlm_weight: float = 0.25,
        gather: Gather = gather_with_gradient,
    ):
        super().__init__()
        self.model, self.rates, self.gather = model, rates, gather
        self.itm, self.random, self.mlm_weight = itm, random, mlm_weight
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def prepare(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch with normalised pictures, and these keys.

        forbidden         bool [b, b]   caption j (column) is true of picture i (row), so that it is no negative
        uniforms          [2, b]        draw a wrong picture per text, and a wrong text per picture
        hardness          scalar        1 where negatives are drawn by similarity, 0 where at random
        masked, chosen    [b, n]        ids with words hidden, and where (bool)
        """
        text = batch["text"]
        ready = {**super().prepare(batch, rng), "forbidden": same_scene(batch)}
        ready["uniforms"] = torch.rand(2, len(text), generator=rng).to(text.device)
        ready["hardness"] = (self.updates >= self.random).float()
        ready["masked"], ready["chosen"] = mask_tokens(text, self.rates, self.model.config.mask_id, rng)
        return ready

    def forward(self, batch: Batch) -> dict[str, Term]:
        image, text, mask = batch["image"], batch["text"], batch["text_mask"]
        vectors = self.model.encode_image(image), self.model.encode_text(text, mask)
        scale = self.model.log_scale.exp()
        terms = {"ITC": Term.of(info_nce(*vectors, scale, gather=self.gather))}
        rows = [(batch["masked"], mask, image)]
        if self.itm:
            alike = batch["hardness"] * scale.detach() * vectors[0].detach() @ vectors[1].detach().T
            wrong_image = draw_negatives(alike.T, batch["forbidden"].T, batch["uniforms"][0])
            wrong_text = draw_negatives(alike, batch["forbidden"], batch["uniforms"][1])
            rows += [(text, mask, image), (text, mask, image[wrong_image]), (text[wrong_text], mask[wrong_text], image)]
        ids, masks, images = (torch.cat(parts) for parts in zip(*rows, strict=True))
        fused = self.model.fuse(ids, masks, images)
        if self.itm:
            pairs = len(text)
            matched = torch.arange(3 * pairs, device=text.device) < pairs
            terms["ITM"] = Term.of(matching_loss(self.model.matching(fused[pairs:], masks[pairs:]), matched))
        hidden = fused[: len(text), : text.shape[1]][batch["chosen"]]
        losses = masked_loss(self.model.words(hidden), text[batch["chosen"]])
        terms["MLM"] = Term.of(self.mlm_weight * losses)
        return terms

    @torch.no_grad()
    def after_step(self, batch: Batch) -> None:
        """One more update of this task."""
        self.updates += 1
