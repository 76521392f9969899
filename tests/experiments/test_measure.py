"""Measurements against scorers whose answers are known: perfect, constant, blind to order, and arbitrary."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tinyvlm.data.changes import CHANGES
from tinyvlm.data.scenes import SceneSpec
from tinyvlm.data.world import World
from tinyvlm.experiments.measure import FACTS, R1, SWAPS, hard_retrieval, retrieval, single_changes
from tinyvlm.experiments.worlds import FEW, FULL


def test_retrieval_of_a_perfect_scorer_and_a_constant_one() -> None:
    world = World("val", spec=FULL)
    found = retrieval(lambda batch: torch.eye(len(batch["text"])), world, 16)
    assert found == dict.fromkeys((*R1, "image to text R@5", "text to image R@5"), 1.0)
    constant = retrieval(lambda batch: torch.zeros(len(batch["text"]), len(batch["text"])), world, 16)
    assert constant["image to text R@1"] == pytest.approx(0.0)


def test_single_changes_of_a_constant_scorer_are_ties() -> None:
    table = single_changes(lambda image, text, mask: torch.zeros(len(text)), World("val", spec=FULL), 64)
    assert {contrast.value for contrast in table.values()} == {0.5}
    # Scenes without relations admit every change but that one; a swap needs two objects.
    assert set(table) == {*FACTS, *SWAPS}
    assert table["object"].n == 64 > table["objects swapped"].n > 16


def test_single_changes_score_the_changed_caption() -> None:
    """A scorer that counts tokens shared with the true caption prefers it under every change but the swaps."""
    world = World("val", spec=FULL)
    batch = world.batch(range(64))
    true = {row.tobytes(): text for row, text in zip(batch["image"].numpy(), batch["text"], strict=True)}

    def bag(image: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        own = [set(true[row.tobytes()].tolist()) for row in image.numpy()]
        return torch.tensor([-float(len(one ^ set(row.tolist()))) for one, row in zip(own, text, strict=True)])

    table = single_changes(bag, world, 64, chunk=16)
    assert table["object"].value == table["background"].value == 1.0
    assert table["objects swapped"].value == table["colours swapped"].value == 0.5


class Knows:
    """Scores by what the true captions of each picture are: 1 for them, `other` for every changed one."""

    def __init__(self, world: World, scenes: int, other: float):
        batch = world.batch(range(scenes))
        self.other = other
        self.true: dict[bytes, list[list[int]]] = {}
        for picture, text in zip(batch["image"].numpy(), batch["text"].tolist(), strict=True):
            self.true.setdefault(picture.tobytes(), []).append(text)

    def __call__(self, image: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        own = [row in self.true[picture.tobytes()] for picture, row in zip(image.numpy(), text.tolist(), strict=True)]
        return torch.where(torch.tensor(own), 1.0, self.other)


def test_hard_retrieval_of_a_perfect_scorer_its_opposite_and_a_constant_one() -> None:
    world = World("val", spec=FEW, context=20)
    assert hard_retrieval(Knows(world, 48, other=0.0), world, 48, chunk=20)["hard R@1"] == 1.0
    assert hard_retrieval(Knows(world, 48, other=2.0), world, 48, chunk=20)["hard R@1"] == 0.0
    # A tie with a changed caption is a miss: who cannot tell them apart has not found it.
    assert hard_retrieval(Knows(world, 48, other=1.0), world, 48, chunk=20)["hard R@1"] == 0.0


def test_hard_retrieval_is_the_slow_loop() -> None:
    world = World("val", spec=FEW, context=20)

    def score(image: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """Arbitrary, but the same for the same pair, in any batch."""
        seed = (image.double().mean((1, 2, 3)) * 1000).long() + (text * torch.arange(1, 21)).sum(1) + mask.sum(1)
        return torch.sin(seed.double() * 12.9898)

    found = hard_retrieval(score, world, 30, chunk=7)
    hits, chances = [], []
    for i in range(30):
        batch = world.batch([i])
        own = score(batch["image"], batch["text"], batch["text_mask"]).item()
        others = []
        for change in CHANGES:
            made = world.changes([i], change)
            if made["admitted"][0]:
                others.append(score(batch["image"], made["text"], made["text_mask"]).item())
        hits.append(all(own > other for other in others))
        chances.append(1 / (1 + len(others)))
    assert found["hard R@1"] == pytest.approx(np.mean(hits)) and 0 < np.mean(hits) < 1
    assert found["hard R@1, chance"] == pytest.approx(np.mean(chances))
    assert len(set(chances)) > 1  # lone objects have nothing to swap, so their lists are shorter


def test_hard_retrieval_leaves_out_what_a_scene_does_not_admit() -> None:
    """Where no change but one is admitted, the empty captions of the others are never scored."""
    lone = World("val", spec=SceneSpec(objects=(1, 1), plates=1, backgrounds=1, nouns=64), context=20)

    def score(image: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        assert (mask.sum(1) > 2).all()
        return -mask.sum(1).float()

    found = hard_retrieval(score, lone, 16)
    assert found["hard R@1, chance"] == 0.5  # the true caption, and one with another noun
