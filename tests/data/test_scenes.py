import dataclasses
import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.scenes import (
    SPLITS,
    Scenes,
    SceneSpec,
    content,
    has_held_out_pair,
    held_out_pairs,
    pool,
    sample_scenes,
)

EVERYTHING = SceneSpec(plates=8, backgrounds=8, repeats=0.25, relations=0.25, sizes=True, jitter=2)
ARRAYS = ("noun", "plate", "size", "background", "shift", "subject", "key")


def same(a: Scenes, b: Scenes) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ARRAYS)


def facts(scenes: Scenes, row: int) -> tuple:
    """What a caption says, the slow way: a repeated noun by number, everything else by cell."""
    cells = [k for k in range(4) if scenes.noun[row, k] >= 0]
    things = [(int(scenes.noun[row, k]), int(scenes.plate[row, k]), int(scenes.size[row, k])) for k in cells]
    ground = int(scenes.background[row])
    if len(cells) > 1 and len({noun for noun, _, _ in things}) == 1:
        return ("copies", len(cells), things[0], ground)
    return ("places", tuple(zip(cells, things, strict=True)), ground)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("spec", [SceneSpec(), EVERYTHING])
def test_a_scene_does_not_depend_on_its_batch(split: str, spec: SceneSpec) -> None:
    index = np.arange(5_000_000_000, 5_000_000_200)
    whole = sample_scenes(spec, split, 3, index)
    order = np.random.default_rng(0).permutation(len(index))
    assert same(sample_scenes(spec, split, 3, index[order]), whole[order])
    parts = [sample_scenes(spec, split, 3, part) for part in np.array_split(index, 7)]
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS}
    assert same(dataclasses.replace(whole, **joined), whole)
    assert same(sample_scenes(spec, split, 3, index[:1]), whole[:1])


@given(st.integers(0, 2**62), st.integers(-(2**65), 2**65), st.sampled_from(SPLITS))
def test_any_index_and_seed_makes_a_scene_of_its_split(index: int, seed: int, split: str) -> None:
    scene = sample_scenes(EVERYTHING, split, seed, [index])
    assert 1 <= scene.count[0] <= 4
    assert set(scene.noun[scene.noun >= 0].tolist()) <= set(pool(EVERYTHING, split).tolist())


def test_scenes_stay_as_they_are() -> None:
    # A changed digest means that every receipt and checkpoint was made from other scenes.
    digest = hashlib.sha256()
    for split in SPLITS:
        scenes = sample_scenes(EVERYTHING, split, 0, np.arange(64))
        for name in ARRAYS:
            digest.update(np.ascontiguousarray(getattr(scenes, name)).astype("<i8").tobytes())
    assert digest.hexdigest()[:16] == "bf8d74689d169260"


def test_train_and_val_share_no_content_whatever_the_seed() -> None:
    tiny = SceneSpec(objects=(1, 2), nouns=12)
    train = {c for seed in range(3) for c in content(sample_scenes(tiny, "train", seed, np.arange(4000))).tolist()}
    val = set(content(sample_scenes(tiny, "val", 7, np.arange(4000))).tolist())
    assert len(train) > 2000 and len(val) > 200
    assert not train & val


def test_pairs_of_the_compositional_split_meet_nowhere_else() -> None:
    table = held_out_pairs()
    assert np.array_equal(table, table.T) and not table.diagonal().any()
    assert 0.08 < table.mean() < 0.12
    for split in ("train", "val", "novel"):
        for row in sample_scenes(EVERYTHING, split, 0, np.arange(1000)).noun:
            nouns = row[row >= 0]
            assert not table[np.ix_(nouns, nouns)].any()
    scenes = sample_scenes(EVERYTHING, "compositional", 0, np.arange(1000))
    for row in scenes.noun:
        nouns = row[row >= 0]
        assert table[np.ix_(nouns, nouns)].any() and len(set(nouns)) == len(nouns)
    assert has_held_out_pair(scenes.noun).all()


def test_novel_nouns_are_only_in_the_novel_split() -> None:
    novel = set(load_emoji().novel)
    for split in SPLITS:
        noun = sample_scenes(SceneSpec(), split, 0, np.arange(2000)).noun
        seen = set(noun[noun >= 0].tolist())
        assert seen <= novel if split == "novel" else not seen & novel


def test_every_choice_is_used_and_even() -> None:
    scenes = sample_scenes(SceneSpec(), "train", 0, np.arange(8000))
    here = scenes.noun >= 0
    assert np.abs(np.bincount(scenes.count, minlength=5)[1:] / 8000 - 0.25).max() < 0.02
    assert np.abs(here.mean(0) - 0.625).max() < 0.02
    assert np.abs(np.bincount(scenes.plate[here]) / here.sum() - 0.25).max() < 0.02
    assert np.abs(np.bincount(scenes.background) / 8000 - 0.5).max() < 0.02
    assert np.bincount(scenes.noun[here], minlength=len(load_emoji().seen)).min() > 20
    assert (scenes.plate[~here] == 0).all() and (scenes.size[~here] == 0).all() and (scenes.size[here] == 1).all()
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in scenes.noun)


def test_repeats_relations_sizes_and_jitter() -> None:
    scenes = sample_scenes(EVERYTHING, "train", 0, np.arange(4000))
    many, relational = scenes.repeated, scenes.subject >= 0
    assert abs(many.mean() - 0.25) < 0.03 and abs(relational.mean() - 0.25) < 0.03 and not (many & relational).any()
    assert set(scenes.count[many]) == {2, 3, 4}
    for row in np.flatnonzero(many):
        here = scenes.noun[row] >= 0
        assert len(set(scenes.plate[row, here])) == len(set(scenes.size[row, here])) == 1
    for row in np.flatnonzero(relational):
        a, b = np.flatnonzero(scenes.noun[row] >= 0)
        assert a + b != 3 and scenes.subject[row] in (a, b)
    here = scenes.noun >= 0
    assert 0.45 < scenes.size[here].mean() < 0.55
    assert set(scenes.shift[here].ravel()) == {-2, -1, 0, 1, 2} and not scenes.shift[~here].any()


def test_content_is_equal_exactly_where_the_facts_are() -> None:
    small = SceneSpec(objects=(1, 2), nouns=4, plates=2, backgrounds=2, repeats=0.5, sizes=True)
    scenes = sample_scenes(small, "train", 0, np.arange(3000))
    codes: dict[tuple, set[int]] = {}
    for row, code in enumerate(content(scenes).tolist()):
        codes.setdefault(facts(scenes, row), set()).add(code)
    assert len(codes) > 150
    assert all(len(found) == 1 for found in codes.values())
    assert len(set.union(*codes.values())) == len(codes)


def test_selecting_rows() -> None:
    scenes = sample_scenes(SceneSpec(), "train", 0, np.arange(10))
    assert len(scenes[2:5]) == 3 and same(scenes[[3, 1]], sample_scenes(SceneSpec(), "train", 0, [3, 1]))
    assert len(scenes[scenes.count > 1]) == (scenes.count > 1).sum()
    with pytest.raises(ValueError, match="a slice or a list"):
        scenes[np.array(3)]


def test_no_scenes_at_all_is_an_empty_batch() -> None:
    assert len(sample_scenes(SceneSpec(), "val", 0, np.arange(0))) == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"objects": (0, 2)}, "1 to 4 objects"),
        ({"objects": (3, 2)}, "1 to 4 objects"),
        ({"objects": (1, 5)}, "1 to 4 objects"),
        ({"plates": 9}, "1 to 8"),
        ({"backgrounds": 0}, "1 to 8"),
        ({"nouns": 0}, "at least one"),
        ({"repeats": 1.2}, "shares"),
        ({"repeats": 0.6, "relations": 0.6}, "shares"),
        ({"relations": -0.1}, "shares"),
        ({"jitter": 7}, "0 to 6"),
    ],
)
def test_nonsense_specs_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SceneSpec(**settings)


@pytest.mark.parametrize(
    ("spec", "split", "words"),
    [
        (SceneSpec(), "test", "unknown split 'test'.*train, val"),
        (SceneSpec(nouns=10_000), "train", "ask for at most"),
        (SceneSpec(nouns=3), "train", "raise `nouns`"),
        (SceneSpec(objects=(1, 1)), "compositional", "two objects"),
        (SceneSpec(objects=(1, 1), nouns=1, plates=1, backgrounds=1), "val", "in 1024 attempts"),
    ],
)
def test_impossible_requests_are_refused_in_one_sentence(spec: SceneSpec, split: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        sample_scenes(spec, split, 0, np.arange(50))
    assert "\n" not in str(error.value)
