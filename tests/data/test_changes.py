from dataclasses import replace

import numpy as np
import pytest

from tinyvlm.data.captions import captions, choose_phrasing
from tinyvlm.data.changes import CHANGES, change_scenes, changed_captions
from tinyvlm.data.scenes import SPLITS, Scenes, SceneSpec, content, has_held_out_pair, pool, sample_scenes

MIXED = SceneSpec(plates=4, backgrounds=3, repeats=0.25, relations=0.25, sizes=True)
SPECS = (SceneSpec(), MIXED)


def cells(scenes: Scenes, row: int) -> dict[int, tuple[int, int, int]]:
    """Noun, plate and size by occupied cell."""
    return {
        k: (int(scenes.noun[row, k]), int(scenes.plate[row, k]), int(scenes.size[row, k]))
        for k in range(4)
        if scenes.noun[row, k] >= 0
    }


def one_fact_differs(change: str, before: Scenes, after: Scenes, row: int) -> bool:
    """Whether exactly the fact that `change` names is different, written out case by case."""
    a, b = cells(before, row), cells(after, row)
    many = bool(before.repeated[row])
    same_ground = before.background[row] == after.background[row]
    different = [k for k in a if k in b and a[k] != b[k]]
    if change == "background":
        return a == b and not same_ground
    if not same_ground:
        return False
    if change == "count":
        if many:  # all copies alike, another number from two to four
            return set(a.values()) == set(b.values()) and len(a) != len(b) and 2 <= len(b) <= 4
        return len(b) == len(a) - 1 and b.items() < a.items()
    if change in ("object", "plate colour"):
        field = ("object", "plate colour").index(change)
        if a.keys() != b.keys() or len(different) != (len(a) if many else 1):
            return False
        kept = all(a[k][j] == b[k][j] for k in different for j in range(3) if j != field)
        new = {b[k][field] for k in different}
        return kept and len(new) == 1 and (field == 1 or not new & {noun for noun, _, _ in a.values()})
    if a.keys() != b.keys() or len(different) != 2:
        return False
    x, y = different
    if change == "relation":
        return before.subject[row] in (x, y) and after.subject[row] == x + y - before.subject[row] and (
            a[x] == b[y] and a[y] == b[x]
        )  # fmt: skip
    field = ("objects swapped", "colours swapped").index(change)
    return all(a[p][j] == b[q if j == field else p][j] for p, q in ((x, y), (y, x)) for j in range(3))


def may_change(change: str, scenes: Scenes, row: int) -> bool:
    here = list(cells(scenes, row).values())
    return {
        "object": True,
        "plate colour": True,
        "background": True,
        "count": len(here) > 1 and scenes.subject[row] < 0,
        "relation": scenes.subject[row] >= 0,
        "objects swapped": len({noun for noun, _, _ in here}) > 1,
        "colours swapped": len({plate for _, plate, _ in here}) > 1,
    }[change]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("spec", SPECS)
def test_exactly_one_fact_changes(change: str, split: str, spec: SceneSpec) -> None:
    scenes = sample_scenes(spec, split, 0, np.arange(400))
    changed, admitted = change_scenes(scenes, change)
    for row in range(400):
        assert admitted[row] == may_change(change, scenes, row)
        if admitted[row]:
            assert one_fact_differs(change, scenes, changed, row), (cells(scenes, row), cells(changed, row))
        else:
            assert cells(scenes, row) == cells(changed, row)
    # What a caption says differs wherever the change was made, so that the changed caption is false of the picture.
    assert np.array_equal(content(changed) != content(scenes), admitted)
    assert np.array_equal(changed.key, scenes.key)


@pytest.mark.parametrize("language", ["en", "ko", "fr"])
@pytest.mark.parametrize("change", CHANGES)
def test_captions_keep_their_phrasing(change: str, language: str) -> None:
    scenes = sample_scenes(MIXED, "val", 0, np.arange(200))
    true = captions(scenes, language)
    false, admitted = changed_captions(scenes, change, language=language)
    changed, _ = change_scenes(scenes, change)
    again = captions(changed, language, choose_phrasing(scenes))
    assert admitted.any()
    for row in range(200):
        assert false[row] == (again[row] if admitted[row] else "")
        assert false[row] != true[row]


@pytest.mark.parametrize(
    ("change", "words"),
    [("object", 1), ("plate colour", 1), ("background", 1), ("objects swapped", 2), ("colours swapped", 2)],
)
def test_english_captions_differ_in_the_words_of_that_fact_alone(change: str, words: int) -> None:
    scenes = sample_scenes(SceneSpec(), "train", 0, np.arange(300))
    false, admitted = changed_captions(scenes, change)
    for row, true in enumerate(captions(scenes)):
        if admitted[row]:
            a, b = true.replace(",", "").split(), false[row].replace(",", "").split()
            different = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
            assert len(different) == words
            if words == 2:
                i, j = different
                assert (a[i], a[j]) == (b[j], b[i])


def test_a_relation_changes_by_its_word_alone() -> None:
    scenes = sample_scenes(SceneSpec(relations=1), "train", 0, np.arange(200))
    false, admitted = changed_captions(scenes, "relation")
    assert admitted.all()
    opposite = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
    for true, changed in zip(captions(scenes), false, strict=True):
        (relation,) = [r for r in opposite if f" {r} the" in f" {true}"]
        assert changed == (f" {true}".replace(f" {relation} the", f" {opposite[relation]} the", 1))[1:]


def test_changes_stay_within_spec_and_split() -> None:
    spec = SceneSpec(nouns=40, plates=3, backgrounds=2)
    for split in SPLITS:
        scenes = sample_scenes(spec, split, 0, np.arange(300))
        changed, _ = change_scenes(scenes, "object")
        assert set(changed.noun[changed.noun >= 0].tolist()) <= set(pool(spec, split).tolist())
        assert (has_held_out_pair(changed.noun) == (split == "compositional")).all()
        assert change_scenes(scenes, "plate colour")[0].plate.max() < 3


def test_changes_depend_on_neither_batch_nor_call() -> None:
    scenes = sample_scenes(MIXED, "train", 0, np.arange(120))
    before = replace(scenes, noun=scenes.noun.copy(), plate=scenes.plate.copy(), background=scenes.background.copy())
    for change in CHANGES:
        whole, admitted = changed_captions(scenes, change)
        parts = [changed_captions(scenes[rows], change) for rows in np.array_split(np.arange(120), 5)]
        assert whole == [line for lines, _ in parts for line in lines]
        assert np.array_equal(admitted, np.concatenate([good for _, good in parts]))
    assert np.array_equal(before.noun, scenes.noun) and np.array_equal(before.plate, scenes.plate)
    assert np.array_equal(before.background, scenes.background)


def test_another_seed_draws_another_change() -> None:
    scenes = sample_scenes(SceneSpec(), "train", 0, np.arange(100))
    first, second = (changed_captions(scenes, "object", seed=seed)[0] for seed in (0, 1))
    assert np.mean([a != b for a, b in zip(first, second, strict=True)]) > 0.9


def test_what_a_spec_cannot_change_is_not_admitted() -> None:
    scenes = sample_scenes(SceneSpec(objects=(1, 2), nouns=2, plates=1, backgrounds=1), "train", 0, np.arange(50))
    for change in ("plate colour", "background", "colours swapped", "relation"):
        assert not changed_captions(scenes, change)[1].any()
    # With two nouns, a scene of both has no third to take.
    assert np.array_equal(changed_captions(scenes, "object")[1], scenes.count == 1)


def test_unknown_change() -> None:
    with pytest.raises(ValueError, match=r"unknown change 'colour': choose one of object, plate colour"):
        changed_captions(sample_scenes(SceneSpec(), "train", 0, [0]), "colour")
