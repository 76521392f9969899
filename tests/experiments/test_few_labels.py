"""A few labels a noun, and classes of patches, against loops."""

import pytest
import torch

from tinyvlm.data.scenes import SceneSpec
from tinyvlm.experiments.few_labels import Labelled, patch_classes, scenes_with_classes, spread
from tinyvlm.experiments.pretrain import single_sprites

SPEC = SceneSpec(objects=(2, 4), plates=4, backgrounds=2, nouns=6)


def test_every_noun_has_as_many_different_pictures_as_asked_for():
    labelled = Labelled(SPEC, 4, seed=1, size=48)
    examples = labelled.batch(range(len(labelled)))
    assert len(labelled) == 24 and examples["label"].bincount().tolist() == [4] * 6
    assert len({image.numpy().tobytes() for image in examples["image"]}) == 24
    drawn = single_sprites(SPEC, "train", 1, 48)(torch.arange(384).numpy())
    for image, label in zip(examples["image"], examples["label"], strict=True):
        same = (drawn["image"] == image).flatten(1).all(1)
        assert same.any() and (drawn["label"][same] == label).all()


def test_an_epoch_shows_every_labelled_picture_once():
    labelled = Labelled(SPEC, 2, seed=0, size=48)
    source = labelled.source(4, examples=len(labelled))
    seen = torch.cat([source(step)["image"] for step in range(3)])
    assert len({image.numpy().tobytes() for image in seen}) == 12


def test_seeds_draw_other_pictures_and_too_many_are_refused():
    one, other = (Labelled(SPEC, 2, seed=seed, size=48).examples["image"] for seed in (0, 1))
    assert not torch.equal(one, other)
    with pytest.raises(ValueError, match="40 different pictures a noun are asked for, and a noun has"):
        Labelled(SPEC, 40, seed=0, size=48)


def test_classes_of_pixels_are_places_among_the_nouns():
    image, classes = scenes_with_classes(SPEC, "val", 2, 48, 20)
    assert image.shape == (20, 3, 48, 48) and classes.shape == (20, 48, 48)
    assert set(classes.unique().tolist()) == set(range(7))
    for scene in classes:
        assert 2 <= len(scene.unique()) - 1 <= 4, "two to four objects, and the ground"


def test_a_patch_has_its_most_frequent_class():
    classes = torch.randint(0, 4, (3, 12, 12))
    found = patch_classes(classes, 4)
    for picture in range(3):
        for place in range(9):
            row, column = 4 * (place // 3), 4 * (place % 3)
            counts = classes[picture, row : row + 4, column : column + 4].flatten().bincount(minlength=4)
            assert counts[found[picture, place]] == counts.max()
    wide = spread(found, 12)
    assert wide.shape == (3, 12, 12)
    assert torch.equal(patch_classes(wide, 4), found)
    assert torch.equal(wide[:, 4:8, 8:], found[:, 5, None, None].expand(3, 4, 4))
