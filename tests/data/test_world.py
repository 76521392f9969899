import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from tinyvlm.data.captions import captions
from tinyvlm.data.changes import CHANGES
from tinyvlm.data.render import render
from tinyvlm.data.scenes import SPLITS, SceneSpec, content
from tinyvlm.data.tokenizer import load_tokenizer
from tinyvlm.data.views import Batch
from tinyvlm.data.words import LANGUAGES
from tinyvlm.data.world import World

SWAPS = ("objects swapped", "colours swapped")
MIXED = SceneSpec(plates=8, backgrounds=8, repeats=0.2, relations=0.2, sizes=True, jitter=1)


def equal(a: Batch, b: Batch) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def joined(parts: list[Batch]) -> Batch:
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


@pytest.mark.parametrize("split", SPLITS)
def test_a_batch_is_its_scenes_rendered_and_tokenised(split: str) -> None:
    world = World(split, seed=2, spec=MIXED, size=64, context=44)
    index = [7, 3, 11, 3]
    batch = world.batch(index, negatives=CHANGES)
    scenes = world.scenes(index)
    assert {key: (tuple(value.shape), value.dtype) for key, value in batch.items()} == {
        "image": ((4, 3, 64, 64), torch.uint8),
        "text": ((4, 44), torch.int64),
        "text_mask": ((4, 44), torch.bool),
        "index": ((4,), torch.int64),
        "content": ((4,), torch.int64),
        "negatives": ((4, 7, 44), torch.int64),
        "negatives_text_mask": ((4, 7, 44), torch.bool),
        "negatives_mask": ((4, 7), torch.bool),
    }
    assert torch.equal(batch["image"], render(scenes, 64)) and batch["index"].tolist() == index
    said = batch["content"].tolist()
    assert said[1] == said[3] and len(set(said)) == 3
    tokens = load_tokenizer()
    assert [tokens.decode(row) for row in batch["text"]] == world.captions(index) == captions(scenes)
    assert torch.equal(batch["text_mask"], batch["text"] != tokens.pad)
    for n, change in enumerate(CHANGES):
        changed = world.changes(index, change)
        assert torch.equal(batch["negatives"][:, n], changed["text"])
        assert torch.equal(batch["negatives_mask"][:, n], changed["admitted"])
        assert torch.equal(batch["negatives_text_mask"][:, n], changed["text_mask"])
        empty = [tokens.bos, tokens.eos] + [tokens.pad] * 42
        assert [row != empty for row in changed["text"].tolist()] == changed["admitted"].tolist()


def test_a_batch_does_not_depend_on_how_it_is_cut() -> None:
    world = World(spec=MIXED)
    whole = world.batch(range(60), negatives=SWAPS)
    assert equal(joined([world.batch(part, negatives=SWAPS) for part in np.array_split(np.arange(60), 7)]), whole)
    backwards = world.batch(list(range(59, -1, -1)), negatives=SWAPS)
    assert equal({key: value.flip(0) for key, value in backwards.items()}, whole)
    assert equal(world.batch(torch.arange(60), negatives=SWAPS), whole)


def test_a_source_is_a_function_of_step_rank_and_world() -> None:
    world = World()
    source = world.source(12, offset=100, negatives=SWAPS)
    assert equal(source(3), world.batch(range(136, 148), negatives=SWAPS))
    for ranks in (2, 3, 4):
        assert equal(joined([source(3, rank, ranks) for rank in range(ranks)]), source(3))
    assert equal(world.source(12, offset=100, negatives=SWAPS)(3), source(3))


def test_a_source_over_so_many_examples_shows_each_once_an_epoch() -> None:
    source = World().source(8, offset=1000, examples=20)
    seen = torch.cat([source(step)["index"] for step in range(5)]).tolist()
    assert sorted(seen[:20]) == sorted(seen[20:]) == list(range(1000, 1020))
    assert seen[:20] != seen[20:]
    assert torch.equal(torch.cat([source(2, rank, 4)["index"] for rank in range(4)]), source(2)["index"])


@pytest.mark.parametrize("split", SPLITS)
def test_unique_scenes_differ_in_content_and_caption(split: str) -> None:
    world = World(split)
    index = world.unique(300)
    assert len(index) == len(set(index.tolist())) == 300 and (np.diff(index) > 0).all()
    assert len(np.unique(content(world.scenes(index)))) == len(set(world.captions(index))) == 300


def test_unique_takes_the_first_of_each_content() -> None:
    world = World(spec=SceneSpec(objects=(1, 1), nouns=4, plates=2, backgrounds=1))
    first: dict[int, int] = {}
    for i in range(2000):
        first.setdefault(int(content(world.scenes([i]))[0]), i)
    assert world.unique(20).tolist() == sorted(first.values())[:20]
    later = world.unique(10, offset=500)
    assert later.min() >= 500 and len(set(world.captions(later))) == 10
    with pytest.raises(ValueError, match="different scenes among"):
        world.unique(100)
    with pytest.raises(ValueError, match="at least one"):
        world.unique(0)


@pytest.mark.parametrize(("world", "n", "message"), [
    (World(), 10_000_000, "n=10000000: ask for at most 500000"),
    (World(), 500_001, "ask for at most 500000"),
    (World(spec=SceneSpec(objects=(1, 1), nouns=4, plates=2, backgrounds=1)), 100_000, "only 28 different"),
    (World("val", spec=SceneSpec(objects=(1, 1))), 60_000, "different scenes among the first"),
])  # fmt: skip
def test_more_scenes_than_there_are_is_told_soon(world: World, n: int, message: str) -> None:
    start = time.process_time()
    with pytest.raises(ValueError, match=message):
        world.unique(n)
    assert time.process_time() - start < 8


def test_changed_pictures_show_what_changed_captions_say() -> None:
    world = World("val", spec=SceneSpec(objects=(2, 4)))
    index = world.unique(64)
    original = world.batch(index)["image"]
    for change in ("object", "plate colour", "background", "count", *SWAPS):
        made = world.changed_images(index, change)
        assert torch.equal(made["admitted"], world.changes(index, change)["admitted"])
        assert torch.equal((made["image"] != original).flatten(1).any(1), made["admitted"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_default_contexts_hold_the_longest_captions(language: str) -> None:
    spec = SceneSpec(objects=(4, 4), plates=8, backgrounds=8, sizes=True)
    for split in ("train", "novel"):
        world = World(split, spec=spec, language=language)
        mask = world.batch(range(400))["text_mask"]
        assert 0.5 * world.context < mask.sum(1).max() <= world.context


def test_english_captions_of_four_objects_take_at_most_34_tokens() -> None:
    mask = World(spec=SceneSpec(objects=(4, 4))).batch(range(500))["text_mask"]
    assert mask.sum(1).max() <= 34


def test_a_batch_costs_little_of_a_training_step() -> None:
    # A step of the smallest model takes about 190 ms for 128 pairs; a batch takes 3 ms of it on an idle core.
    world = World()
    world.batch(range(128))
    times = []
    for step in range(8):
        start = time.process_time()
        world.batch(range(128 * step, 128 * step + 128))
        times.append(time.process_time() - start)
    assert min(times) < 0.02


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"split": "test"}, "unknown split 'test'"),
        ({"size": 47}, "picture size 47"),
        ({"language": "la"}, "unknown language 'la'"),
        ({"context": 2}, "at least 3"),
    ],
)
def test_bad_settings_are_refused_at_once(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        World(**settings)


def test_bad_requests_are_refused() -> None:
    world = World()
    with pytest.raises(ValueError, match="unknown change 'colour'"):
        world.batch([0], negatives=["colour"])
    with pytest.raises(ValueError, match="negative"):
        world.batch([-1])
    with pytest.raises(ValueError, match="row of integers"):
        world.batch([[0]])
    with pytest.raises(ValueError, match="more than the 8 allowed"):
        World(context=8).batch(range(10))
    with pytest.raises(ValueError, match="no equal slice 0 of 3"):
        world.source(8)(0, 0, 3)
    with pytest.raises(ValueError, match="no equal slice 2 of 2"):
        world.source(8)(0, 2, 2)
    for arguments, words in (({"batch_size": 0}, "at least one"), ({"batch_size": 4, "offset": -1}, "negative"),
                             ({"batch_size": 4, "examples": 0}, "at least one")):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            world.source(**arguments)


def test_the_package_is_light_and_names_load_when_used() -> None:
    code = (
        "import sys, time; t = time.perf_counter(); import tinyvlm.data as d; took = time.perf_counter() - t;"
        "heavy = [m for m in ('torch', 'numpy', 'PIL', 'tokenizers') if m in sys.modules];"
        "assert not heavy, heavy; assert took < 0.5, took;"
        "assert 'World' in dir(d)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    import tinyvlm.data

    assert all(getattr(tinyvlm.data, name) is not None for name in tinyvlm.data.__all__)
    assert tinyvlm.data.World is World
    with pytest.raises(AttributeError, match="no attribute 'Wrold'"):
        _ = tinyvlm.data.Wrold
