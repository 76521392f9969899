import hashlib

import numpy as np
import pytest
import torch

from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.render import plate_alpha, render, sprite_side
from tinyvlm.data.scenes import SPLITS, Scenes, SceneSpec, sample_scenes
from tinyvlm.data.words import BACKGROUND_RGB, COLOUR_RGB

EVERYTHING = SceneSpec(plates=8, backgrounds=8, repeats=0.2, sizes=True, jitter=3)


def blend(colour: int, base: int, alpha: int) -> int:
    return (alpha * colour + (255 - alpha) * base + 127) // 255


def slow_picture(scenes: Scenes, row: int, size: int) -> np.ndarray:
    """One pixel after the other, straight from the sprites."""
    cell, table, plate = size // 2, load_emoji(), plate_alpha(size // 2)
    ground = BACKGROUND_RGB[scenes.background[row]]
    picture = np.empty((3, size, size), np.uint8)
    for y in range(size):
        for x in range(size):
            k, r, c = 2 * (y // cell) + x // cell, y % cell, x % cell
            pixel = list(ground)
            if scenes.noun[row, k] >= 0:
                colour = COLOUR_RGB[scenes.plate[row, k]]
                pixel = [blend(colour[i], pixel[i], int(plate[r, c])) for i in range(3)]
                side = sprite_side(cell, int(scenes.size[row, k]))
                edge = (cell - side) // 2
                down, right = (int(np.sign(s)) * (abs(int(s)) * size // 48) for s in scenes.shift[row, k])
                y0, x0 = r - edge - down, c - edge - right
                if 0 <= y0 < side and 0 <= x0 < side:
                    sprite = table.noun_sprites(side)[scenes.noun[row, k], y0, x0]
                    pixel = [blend(int(sprite[i]), pixel[i], int(sprite[3])) for i in range(3)]
            picture[:, y, x] = pixel
    return picture


@pytest.mark.parametrize("size", [16, 34, 48, 64])
@pytest.mark.parametrize("spec", [SceneSpec(), EVERYTHING])
def test_pictures_equal_a_slow_loop(size: int, spec: SceneSpec) -> None:
    scenes = sample_scenes(spec, "train", 0, np.arange(5))
    pictures = render(scenes, size)
    assert pictures.shape == (5, 3, size, size) and pictures.dtype == torch.uint8
    for row in range(5):
        assert np.array_equal(pictures[row].numpy(), slow_picture(scenes, row, size))


def test_a_picture_does_not_depend_on_its_batch() -> None:
    scenes = sample_scenes(EVERYTHING, "val", 0, np.arange(40))
    whole = render(scenes)
    order = np.random.default_rng(0).permutation(40)
    assert torch.equal(render(scenes[order]), whole[torch.from_numpy(order)])
    assert torch.equal(torch.cat([render(scenes[:7]), render(scenes[7:])]), whole)


def test_pictures_stay_as_they_are() -> None:
    # A changed digest means that every receipt and checkpoint was made from other pictures.
    digest = hashlib.sha256()
    for split in SPLITS:
        digest.update(render(sample_scenes(EVERYTHING, split, 0, np.arange(16))).numpy().tobytes())
        digest.update(render(sample_scenes(SceneSpec(), split, 0, np.arange(4)), 96).numpy().tobytes())
    assert digest.hexdigest()[:16] == "55369cba27b9f99a"


def test_plates_are_round_and_leave_background_in_every_patch() -> None:
    alpha = plate_alpha(24)
    assert np.array_equal(alpha, alpha.T) and np.array_equal(alpha, alpha[::-1])
    assert alpha[0, 0] == 0 and alpha[12, 0] == 255 and (alpha[8:16] == 255).all()
    # Four objects leave the background visible in each of the sixteen patches of 12 pixels.
    scenes = sample_scenes(SceneSpec(objects=(4, 4)), "train", 0, np.arange(20))
    ground = torch.tensor(BACKGROUND_RGB)[torch.from_numpy(scenes.background).long()][:, :, None, None]
    visible = (render(scenes) == ground).all(1).reshape(20, 4, 12, 4, 12).any(4).any(2)
    assert visible.all()


def test_an_empty_cell_is_background() -> None:
    scenes = sample_scenes(SceneSpec(objects=(1, 1)), "train", 0, np.arange(30))
    pictures = render(scenes)
    for row in range(30):
        for k in np.flatnonzero(scenes.noun[row] < 0):
            cell = pictures[row, :, k // 2 * 24 : k // 2 * 24 + 24, k % 2 * 24 : k % 2 * 24 + 24]
            assert (cell == torch.tensor(BACKGROUND_RGB[scenes.background[row]])[:, None, None]).all()


@pytest.mark.parametrize("size", [47, 14, 514, 0, -48])
def test_sizes_that_cannot_be_drawn(size: int) -> None:
    with pytest.raises(ValueError, match="even and 16 to 512"):
        render(sample_scenes(SceneSpec(), "train", 0, [0]), size)
