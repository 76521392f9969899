"""Fine-tuning a model that reads a picture and a text together: questions, and retrieval by matching score.

As Pixel-BERT does it (Huang et al., arXiv 2004.00849, section 4.2). Both tasks use all
cells of a picture.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from tinyvlm.models.pixel_bert import PixelBERT
from tinyvlm.models.task import Batch, Task, Term, same_scene


class AnswerTask(Task):
    """Fine-tuning for questions (section 4.2): per-answer binary cross-entropy on all cells.

    `batch` is that of `data.Questions`; `blind` leaves the picture out, which gives the baseline on
    questions alone. BatchNorm keeps its statistics: leave the CNN out of the stage's `trainable`, or mind that.
    """

    model: PixelBERT

    def __init__(self, model: PixelBERT, *, blind: bool = False):
        super().__init__()
        if model.answer is None:
            raise ValueError("AnswerTask: this model has no question head; build it with answers=number of answers")
        self.model, self.blind = model, blind

    def train(self, mode: bool = True) -> "AnswerTask":
        super().train(mode)
        self.model.trunk.eval()
        return self

    def forward(self, batch: Batch) -> dict[str, Term]:
        image, width = batch["image"], self.model.config.bert.width
        image_tokens = image.new_zeros(len(image), 0, width) if self.blind else self.model.image_tokens(image)
        logits = self.model.fuse(image_tokens, batch["text"], batch["text_mask"]).answers
        assert logits is not None
        target = F.one_hot(batch["label"], self.model.config.answers).to(logits)
        return {"answers": Term.of(F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(1))}


class RetrievalTask(Task):
    """Fine-tuning for retrieval (section 4.2): pick the true caption among it and 20 random ones.

    Softmax cross-entropy over the 21 scores, with gradient only through the true one and the 5 hardest; the CNN, its
    BatchNorm included, is frozen: leave its parameters out of the stage's `trainable`.
    """

    model: PixelBERT

    def __init__(self, model: PixelBERT, *, negatives: int = 20, hardest: int = 5):
        super().__init__()
        self.model, self.negatives, self.hardest = model, negatives, hardest

    def train(self, mode: bool = True) -> "RetrievalTask":
        super().train(mode)
        self.model.trunk.eval()
        return self

    def prepare(self, batch: Batch, rng: torch.Generator) -> Batch:
        order = torch.rand(len(batch["text"]), len(batch["text"]), generator=rng).to(batch["text"].device)
        # True captions of the same scene come last, so that they are drawn only from a batch with too little else.
        order = order.masked_fill(same_scene(batch), 2.0).fill_diagonal_(-1.0)
        candidates = order.argsort(1)[:, : 1 + self.negatives]
        return {**super().prepare(batch, rng), "candidates": candidates}

    def _scores(self, image_tokens: Tensor, batch: Batch, candidates: Int[Tensor, "b m"]) -> Float[Tensor, "b m"]:
        b, m = candidates.shape
        ids, mask = batch["text"][candidates.flatten()], batch["text_mask"][candidates.flatten()]
        return self.model.fuse(image_tokens.repeat_interleave(m, 0), ids, mask).score.view(b, m)

    def forward(self, batch: Batch) -> dict[str, Term]:
        image_tokens, candidates = self.model.image_tokens(batch["image"]), batch["candidates"]
        with torch.no_grad():  # all 21, to find the hardest: the forward pass alone is a third of the price
            known = self._scores(image_tokens, batch, candidates)
            order = known[:, 1:].argsort(1, descending=True) + 1
        learning = torch.cat([torch.zeros_like(order[:, :1]), order[:, : self.hardest]], 1)
        fresh = self._scores(image_tokens, batch, candidates.gather(1, learning))
        scores = torch.cat([fresh, known.gather(1, order[:, self.hardest :])], 1)
        true = scores.new_zeros(len(scores), dtype=torch.long)
        return {"retrieval": Term.of(F.cross_entropy(scores, true, reduction="none"))}
