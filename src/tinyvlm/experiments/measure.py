"""Measurements that every week takes in the same way: retrieval, and the table of single changes (the red thread).

They know no model: a week hands in functions that embed or score. Pictures and captions come from a `World`.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from tinyvlm.data.changes import CHANGES
from tinyvlm.data.world import World
from tinyvlm.experiments.words import content_rates
from tinyvlm.metrics.contrasts import Contrast, forced_choice
from tinyvlm.metrics.retrieval import recall_at_k

# (image uint8 [b, 3, s, s], text [b, n], mask [b, n]) -> score [b]: how well each caption fits its own picture.
Score = Callable[[Tensor, Tensor, Tensor], Tensor]

# batch with image, text, text_mask -> [images, texts]: how well each caption fits each picture.
Matrix = Callable[[dict[str, Tensor]], Tensor]

# (image, text with hidden words, mask, hidden bool [b, n]) -> logits [hidden words, vocabulary]
Predict = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

WAYS = ("image to text", "text to image")
R1 = tuple(f"{way} R@1" for way in WAYS)
# Single changes that break a fact, and those that leave every word and say something else.
FACTS = ("object", "plate colour", "background", "count")
SWAPS = ("objects swapped", "colours swapped")


def _chunks(indices: np.ndarray, size: int) -> list[np.ndarray]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]


@torch.inference_mode()
def retrieval(similarity: Matrix, world: World, scenes: int = 512) -> dict[str, float]:
    """Recall@1 and @5, both ways, among `scenes` scenes of `world` whose captions all differ.

    `similarity(batch)` returns the [images, texts] matrix of a batch that holds all of them. Chance is k / scenes.
    """
    scores = similarity(world.batch(world.unique(scenes)))
    found = {k: recall_at_k(scores, k) for k in (1, 5)}
    return {f"{way} R@{k}": getattr(recall, way.replace(" ", "_")) for way in WAYS for k, recall in found.items()}


@torch.inference_mode()
def single_changes(
    score: Score, world: World, scenes: int = 1024, changes: Sequence[str] = CHANGES, chunk: int = 256
) -> dict[str, Contrast]:
    """Forced choice between the true caption and one with a single thing changed; each kind of change by itself.

    Only scenes that admit a change count for it (a swap needs two objects). Chance is 0.5, a tie counts half.
    """
    table: dict[str, Contrast] = {}
    for change in changes:
        true, other, admitted = [], [], []
        for part in _chunks(np.arange(scenes), chunk):
            batch = world.batch(part, negatives=(change,))
            true.append(score(batch["image"], batch["text"], batch["text_mask"]))
            other.append(score(batch["image"], batch["negatives"][:, 0], batch["negatives_text_mask"][:, 0]))
            admitted.append(batch["negatives_mask"][:, 0])
        keep = torch.cat(admitted)
        if keep.any():
            table[change] = forced_choice(torch.cat(true).cpu(), torch.cat(other).cpu(), keep.cpu())
    return table


@torch.inference_mode()
def hard_retrieval(
    score: Score, world: World, scenes: int = 512, changes: Sequence[str] = CHANGES, chunk: int = 128
) -> dict[str, float]:
    """Recall@1 where it hurts: each picture's caption among all its versions with one change.

    Only changes that a scene admits are in its list, so that lists differ in length; "hard R@1, chance" is what
    guessing gives on average. A tie with a changed caption counts as a miss.
    """
    hits, chances = [], []
    for part in _chunks(np.arange(scenes), chunk):
        batch = world.batch(part, negatives=changes)
        true = score(batch["image"], batch["text"], batch["text_mask"])
        best = torch.full_like(true, -torch.inf)
        for n in range(len(changes)):
            admitted = batch["negatives_mask"][:, n]
            if not admitted.any():
                continue
            texts, masks = batch["negatives"][:, n][admitted], batch["negatives_text_mask"][:, n][admitted]
            best[admitted] = torch.maximum(best[admitted], score(batch["image"][admitted], texts, masks))
        hits.append(true > best)
        chances.append(1 / (1 + batch["negatives_mask"].sum(1)))
    return {
        "hard R@1": torch.cat(hits).double().mean().item(),
        "hard R@1, chance": torch.cat(chances).double().mean().item(),
    }


@torch.inference_mode()
def hidden_nouns(predict: Predict, world: World, mask_id: int, scenes: int = 512) -> float:
    """All nouns of unseen captions hidden at once: how often is the right one the likeliest word?

    Chance is 1 in as many nouns as the world's spec has.
    """
    batch, rates = world.batch(range(scenes)), content_rates()
    hidden = rates[batch["text"]] == rates.max()
    text = batch["text"].masked_fill(hidden, mask_id)
    found = predict(batch["image"], text, batch["text_mask"], hidden).argmax(1).cpu()
    return (found == batch["text"][hidden]).double().mean().item()
