"""Mixtures of sources: one flat batch, taken apart again, in equal shares for every process."""

import pytest
import torch

from tinyvlm.data.text_only import TextOnly
from tinyvlm.data.views import Mixture, part
from tinyvlm.data.world import World
from tinyvlm.training.batches import batches, size

PAIRS, TEXTS = World("train", size=16).source(8), TextOnly(context=64).source(4, offset=100)
MIXED = Mixture(pairs=PAIRS, texts=TEXTS)


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_mixture_holds_the_batches_of_all_sources_behind_their_names():
    batch = MIXED(3)
    assert {"pairs/image", "pairs/text", "texts/text"} <= set(batch) and all("/" in key for key in batch)
    same(part(batch, "pairs"), PAIRS(3))
    same(part(batch, "texts"), TEXTS(3))
    assert not torch.equal(MIXED(4)["texts/text"], batch["texts/text"])


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_every_source(world):
    shares = [MIXED(5, rank, world) for rank in range(world)]
    for name, source in (("pairs", PAIRS), ("texts", TEXTS)):
        parts = [part(share, name) for share in shares]
        same({key: torch.cat([one[key] for one in parts]) for key in parts[0]}, source(5))
    with pytest.raises(ValueError, match="a batch of 4 has no equal slice 0 of 8"):
        MIXED(5, 0, 8)


def test_a_trainer_counts_the_samples_of_all_parts():
    assert size(MIXED(0)) == 12 and size(PAIRS(0)) == 8 and size(TEXTS(0)) == 4
    assert size({"loss": torch.tensor(1.0)}) == 1 and size({"texts/text": torch.zeros(3, 2), "x": torch.zeros(2)}) == 5
    with batches(MIXED, range(2), 1, 2, torch.device("cpu")) as coming:
        assert [(step, size(batch)) for step, batch in coming] == [(0, 6), (1, 6)]


def test_mixtures_of_mixtures_come_apart_level_by_level():
    nested = Mixture(seen=MIXED, more=TEXTS)
    batch = nested(2)
    same(part(part(batch, "seen"), "pairs"), PAIRS(2))
    same(part(batch, "more"), TEXTS(2))
    assert size(batch) == 16


def test_a_part_that_is_not_there_is_named():
    with pytest.raises(KeyError, match="this batch has no part 'text'; its parts are: pairs, texts"):
        part(MIXED(0), "text")
    with pytest.raises(KeyError, match="its parts are: none"):
        part(PAIRS(0), "pairs")
    with pytest.raises(ValueError, match="Mixture: no source"):
        Mixture()
