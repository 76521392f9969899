import numpy as np
import pytest
import torch

from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.single import Singles
from tinyvlm.data.words import BACKGROUND_RGB


@pytest.mark.parametrize("kind", ["nouns", "all"])
@pytest.mark.parametrize("split", ["train", "val", "novel"])
def test_labels_are_those_of_the_emoji(kind: str, split: str) -> None:
    view = Singles(split, kind=kind)
    batch, table = view.batch(range(300)), load_emoji()
    assert batch["image"].shape == (300, 3, 48, 48) and batch["image"].dtype == torch.uint8
    novel = {table.nouns[i].id for i in table.novel}
    for label, group, subgroup in zip(*(batch[k].tolist() for k in ("label", "group", "subgroup")), strict=True):
        emoji = table.nouns[label] if kind == "nouns" else table.emoji[label]
        assert (view.group_names[group], view.subgroup_names[subgroup]) == (emoji.group, emoji.subgroup)
        assert view.label_names[label] == (emoji.noun if kind == "nouns" else emoji.names["en"])
        assert (emoji.id in novel) == (split == "novel")
    assert len(set(batch["label"].tolist())) > (40 if split == "novel" else 150)


def test_a_picture_is_its_sprite_somewhere_on_a_background() -> None:
    view, table = Singles(), load_emoji()
    batch = view.batch(range(24))
    placed = set()
    for picture, label in zip(batch["image"].numpy(), batch["label"].tolist(), strict=True):
        found = []
        for side in (28, 34, 40, 46):
            sprite = table.sprite(table.nouns[label].id, side).astype(int).transpose(2, 0, 1)
            for flip in (1, -1):
                rgb, alpha = sprite[:3, :, ::flip], sprite[3:, :, ::flip]
                for number, ground in enumerate(np.array(BACKGROUND_RGB)[:, :, None, None]):
                    tile = (alpha * rgb + (255 - alpha) * ground + 127) // 255
                    for top in range(48 - side + 1):
                        for left in range(48 - side + 1):
                            if np.array_equal(picture[:, top : top + side, left : left + side], tile):
                                rest = picture.copy()
                                rest[:, top : top + side, left : left + side] = ground
                                if (rest == ground).all():
                                    found.append((side, flip, number, top, left))
        assert found
        placed.add(found[0])
    for values in zip(*placed, strict=True):
        assert len(set(values)) > 1


def test_without_augmentation_each_emoji_has_one_picture() -> None:
    view = Singles(augment=False, size=64)
    batch = view.batch(range(400))
    by_label: dict[int, torch.Tensor] = {}
    for label, picture in zip(batch["label"].tolist(), batch["image"], strict=True):
        assert torch.equal(by_label.setdefault(label, picture), picture)


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_first_nouns_are_numbered_from_zero(split: str) -> None:
    view = Singles(split, nouns=5)
    labels = view.batch(range(200))["label"]
    assert set(labels.tolist()) == set(range(5))
    emoji = load_emoji().nouns
    assert view.members.tolist() == [emoji[i].id for i in range(5)]


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        ({"nouns": 0}, 315), ({"nouns": 316}, 315), ({"nouns": 5, "kind": "all"}, 315),
        ({"split": "novel", "nouns": 61}, 60),
    ],
)  # fmt: skip
def test_nouns_that_are_not_there_are_refused(settings: dict, most: int) -> None:
    with pytest.raises(ValueError, match=f"choose 1 to {most} of the kind 'nouns'"):
        Singles(**settings)


def test_pictures_depend_on_neither_batch_nor_order() -> None:
    view = Singles("val", seed=5)
    whole = view.batch(range(40))
    parts = [view.batch(range(0, 13)), view.batch(range(13, 40))]
    assert all(torch.equal(torch.cat([part[key] for part in parts]), whole[key]) for key in whole)
    assert torch.equal(view.batch([9, 3])["image"], whole["image"][[9, 3]])


def test_train_and_val_never_show_the_same_picture() -> None:
    train = Singles("train", size=16).batch(range(12_000))["image"].flatten(1).numpy()
    val = Singles("val", size=16, seed=1).batch(range(3_000))["image"].flatten(1).numpy()
    seen = {row.tobytes() for row in train}
    assert len(seen) > 9_000
    assert not seen & {row.tobytes() for row in val}


def test_given_nouns_are_shown() -> None:
    view = Singles("novel")
    assert torch.equal(view.show([4, 4, 7], [0, 1, 2])[:1], view.show([4], [0]))
    assert not torch.equal(view.show([4], [0]), view.show([4], [1]))
    own = view.batch(range(20))
    assert torch.equal(view.show(own["label"].tolist(), range(20)), own["image"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"split": "compositional"}, "hold no pairs"),
        ({"split": "test"}, "unknown split"),
        ({"kind": "faces"}, "unknown kind 'faces'"),
        ({"size": 15}, "picture size 15"),
    ],
)
def test_bad_settings(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Singles(**settings)
