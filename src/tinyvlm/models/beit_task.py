"""How BEiT is pre-trained (Bao et al., arXiv 2106.08254): the codes of hidden patches.

Deviations and choices:
- The tokenizer reads the same crop as the Transformer, resized where their sizes differ (official: two resampling
  filters, bicubic and Lanczos).
- `targets` other than codes are the paper's ablation: raw pixels, or pixels normalised per patch as in MAE.
"""

import copy
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from tinyvlm.models.beit import BEiT
from tinyvlm.models.task import Batch, Task, Term
from tinyvlm.models.tokenizers import VisualTokenizer
from tinyvlm.objectives.momentum import Frozen
from tinyvlm.objectives.patch_masking import blockwise_mask, patch_pixels, random_mask

MASKS = {"blockwise": blockwise_mask, "random": random_mask}
TARGETS = ("codes", "pixels", "normalised pixels")


class BEiTTask(Task):
    """Masked image modelling (MIM): the codes of hidden patches, read off the whole picture beforehand.

    Args:
        tokenizer: copied and frozen; none is needed for pixels.
        masking: "blockwise" or "random".
        count: patches that are hidden, at most (blockwise) or exactly (random); least: about the smallest block.
        targets: "codes", or the ablation's "pixels" and "normalised pixels", for which the head is as wide as a patch.
    """

    model: BEiT

    def __init__(
        self,
        model: BEiT,
        tokenizer: VisualTokenizer | None = None,
        *,
        masking: str = "blockwise",
        count: int = 75,
        least: int = 16,
        targets: str = "codes",
    ):
        super().__init__()
        if masking not in MASKS:
            raise ValueError(f"BEiTTask: masking is {masking!r}; choose one of {', '.join(MASKS)}")
        if targets not in TARGETS:
            raise ValueError(f"BEiTTask: targets are {targets!r}; choose one of {', '.join(TARGETS)}")
        self.targets, self.masking, self.count, self.least = targets, masking, count, least
        self.model, self.tokenizer = model, None
        if targets == "codes":
            wanted = model.side, model.config.codes
            has = None if tokenizer is None else (tokenizer.config.side, tokenizer.config.codes)
            if tokenizer is None or has != wanted:
                raise ValueError(
                    f"BEiTTask: the tokenizer has (grid side, codes) {has}, the network {wanted}; make them equal"
                )
            self.tokenizer = Frozen(copy.deepcopy(tokenizer), saved=False)

    def masks(self, batch: int, rng: torch.Generator) -> Bool[Tensor, "b p"]:
        """Which patches of each picture are hidden."""
        if self.masking == "random":
            return random_mask(batch, self.model.side, self.count, rng)
        return blockwise_mask(batch, self.model.side, self.count, rng, least=self.least)

    def prepare(self, batch: Batch, rng: torch.Generator) -> Batch:
        """Adds `hidden` [b, p], and `codes` [b, p] of the whole picture, or its `pixels` [b, p, 3 patch^2]."""
        ready = {**super().prepare(batch, rng)}
        ready["hidden"] = self.masks(len(ready["image"]), rng).to(ready["image"].device)
        if self.tokenizer is None:
            normalised = self.targets == "normalised pixels"
            ready["pixels"] = patch_pixels(ready["image"], self.model.config.tower.patch, normalised)
        else:
            network = cast(VisualTokenizer, self.tokenizer.network)
            ready["codes"] = network.codes(resized(ready["image"], network.config.image_size))
        return ready

    def forward(self, batch: Batch) -> dict[str, Term]:
        hidden = batch["hidden"]
        logits = self.model(batch["image"], hidden).logits
        if self.tokenizer is None:
            return {"MIM": Term.of((logits - batch["pixels"][hidden]).square().mean(-1))}
        return {"MIM": Term.of(F.cross_entropy(logits, batch["codes"][hidden], reduction="none"))}


def resized(image: Float[Tensor, "b c h w"], size: int) -> Float[Tensor, "b c size size"]:
    """The picture with another side length."""
    if image.shape[-1] == size:
        return image
    return F.interpolate(image, size=(size, size), mode="bicubic", antialias=True).clamp(-1, 1)
