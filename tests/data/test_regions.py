import numpy as np
import pytest
import torch

from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.regions import (
    Regions,
    boxes,
    instance_masks,
    location_bins,
    mask_boxes,
    refer,
    referring_expressions,
    semantic_mask,
)
from tinyvlm.data.render import sprite_side
from tinyvlm.data.scenes import Scenes, SceneSpec, sample_scenes
from tinyvlm.data.tokenizer import load_tokenizer
from tinyvlm.data.words import CELLS, COLOURS

EVERYTHING = SceneSpec(plates=4, backgrounds=3, repeats=0.3, sizes=True, jitter=4)


def slow_mask(scenes: Scenes, row: int, k: int, size: int) -> np.ndarray:
    """Pixel by pixel from the sprite: opaque by half or more, and within the cell."""
    cell = size // 2
    mask = np.zeros((size, size), bool)
    if scenes.noun[row, k] < 0:
        return mask
    side = sprite_side(cell, int(scenes.size[row, k]))
    sprite = load_emoji().noun_sprites(side)[scenes.noun[row, k]]
    down, right = (int(np.sign(s)) * (abs(int(s)) * size // 48) for s in scenes.shift[row, k])
    for y in range(side):
        for x in range(side):
            r, c = (cell - side) // 2 + y + down, (cell - side) // 2 + x + right
            if 0 <= r < cell and 0 <= c < cell and sprite[y, x, 3] >= 128:
                mask[k // 2 * cell + r, k % 2 * cell + c] = True
    return mask


@pytest.mark.parametrize("size", [32, 48, 70])
@pytest.mark.parametrize("spec", [SceneSpec(), EVERYTHING])
def test_masks_and_boxes_equal_a_slow_loop(size: int, spec: SceneSpec) -> None:
    scenes = sample_scenes(spec, "train", 0, np.arange(8))
    masks, around, semantic = instance_masks(scenes, size), boxes(scenes, size), semantic_mask(scenes, size)
    for row in range(8):
        labels = np.zeros((size, size), np.int64)
        for k in range(4):
            slow = slow_mask(scenes, row, k, size)
            assert np.array_equal(masks[row, k].numpy(), slow)
            ys, xs = np.nonzero(slow)
            box = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] if len(ys) else [0, 0, 0, 0]
            assert around[row, k].tolist() == box
            labels[slow] = scenes.noun[row, k] + 1
        assert np.array_equal(semantic[row].numpy(), labels)


def test_every_object_has_visible_pixels() -> None:
    scenes = sample_scenes(SceneSpec(sizes=True), "train", 0, np.arange(600))
    assert torch.equal(instance_masks(scenes).flatten(2).any(2), torch.from_numpy(scenes.noun >= 0))


def test_boxes_of_masks_that_touch_the_edge_or_are_empty() -> None:
    masks = torch.zeros(3, 5, 7, dtype=torch.bool)
    masks[0, 4, 6] = masks[1, 0, 0] = masks[1, 4, 3] = True
    assert mask_boxes(masks).tolist() == [[6, 4, 7, 5], [0, 0, 4, 5], [0, 0, 0, 0]]


def test_location_bins_stay_in_range() -> None:
    box = torch.tensor([0, 24, 47, 48])
    assert location_bins(box, 48).tolist() == [0, 32, 62, 63]


def points_at(words: str, scenes: Scenes, row: int) -> list[int]:
    names = load_emoji().names("en")
    here = [k for k in range(4) if scenes.noun[row, k] >= 0]
    if words.startswith("the object at "):
        return [k for k in here if CELLS[k] == words.removeprefix("the object at ")]
    if words.startswith("the object on "):
        return [k for k in here if COLOURS[scenes.plate[row, k]] == words.removeprefix("the object on ")]
    return [k for k in here if names[scenes.noun[row, k]] == words.removeprefix("the ")]


def test_expressions_point_at_exactly_one_object_and_none_is_missed() -> None:
    scenes = sample_scenes(EVERYTHING, "train", 0, np.arange(300))
    for row, expressions in enumerate(referring_expressions(scenes)):
        assert all(points_at(words, scenes, row) == [k] for k, _, words in expressions)
        forms = {(k, form) for k, form, _ in expressions}
        for k in np.flatnonzero(scenes.noun[row] >= 0):
            assert (k, "place") in forms
            for form, values in (("noun", scenes.noun), ("colour", scenes.plate)):
                alone = (values[row][scenes.noun[row] >= 0] == values[row, k]).sum() == 1
                assert ((k, form) in forms) == alone
    cell, words = refer(scenes)
    assert all(points_at(text, scenes, row) == [k] for row, (k, text) in enumerate(zip(cell, words, strict=True)))
    assert len({text.split()[1] == "object" for text in words}) == 2


def test_batches_agree_with_the_parts() -> None:
    view = Regions("val", spec=EVERYTHING, size=64)
    batch, scenes, tokens = view.batch(range(30)), view.scenes(range(30)), load_tokenizer()
    cell, words = refer(scenes)
    assert [tokens.decode(row) for row in batch["text"]] == words and batch["cell"].tolist() == cell.tolist()
    assert torch.equal(batch["masks"], instance_masks(scenes, 64))
    assert torch.equal(batch["boxes"], boxes(scenes, 64)) and torch.equal(batch["semantic"], semantic_mask(scenes, 64))
    assert batch["labels"].tolist() == scenes.noun.tolist()
    for row, k in enumerate(cell):
        assert torch.equal(batch["box"][row], batch["boxes"][row, k])
        assert torch.equal(batch["mask"][row], batch["masks"][row, k])
    with pytest.raises(ValueError, match="take negatives from World"):
        view.batch([0], negatives=("object",))
