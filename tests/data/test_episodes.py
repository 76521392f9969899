import numpy as np
import pytest
import torch

from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.episodes import NAMES, Episodes
from tinyvlm.data.single import Singles
from tinyvlm.data.tokenizer import load_tokenizer


@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize("split", ["train", "val", "novel"])
@pytest.mark.parametrize(("ways", "shots"), [(2, 0), (2, 1), (3, 2), (5, 3)])
def test_episodes_can_be_solved_from_what_they_show(ways: int, shots: int, split: str, images: bool) -> None:
    view, tokens, table = Episodes(split, ways=ways, shots=shots, images=images), load_tokenizer(), load_emoji()
    batch = view.batch(range(40))
    nouns, names, order = view.deal(range(40))
    allowed = set(table.novel if split == "novel" else table.seen)
    for row in range(40):
        assert len(set(nouns[row])) == len(set(names[row])) == ways and set(nouns[row].tolist()) <= allowed
        assert np.bincount(order[row, :-1], minlength=ways).tolist() == [shots] * ways
        at, label = int(batch["answer_position"][row]), int(batch["label"][row])
        assert batch["text"][row, at] == batch["options"][row, label] == tokens.id(NAMES[names[row, label]])
        assert order[row, -1] == label
        targets = batch["text"][row][batch["target_mask"][row]].tolist()
        assert targets == [tokens.id(NAMES[names[row, way]]) for way in order[row]]
        if images:
            positions = batch["image_positions"][row]
            assert (batch["text"][row, positions] == tokens.image).all()
            assert (positions + 1).tolist() == batch["target_mask"][row].nonzero()[:, 0].tolist()
        elif shots:
            # As a reader would: the name that followed the same noun before.
            pieces = [piece.split()[1:] for piece in view.texts([row])[0].split(" <EOC>") if piece]
            known = {noun: name for noun, name in pieces[:-1]}
            assert known[pieces[-1][0]] == pieces[-1][1]
    if images:
        assert batch["image"].shape == (40, ways * shots + 1, 3, 48, 48)
    else:
        assert "image" not in batch


def test_pictures_are_of_the_nouns_dealt() -> None:
    view = Episodes("novel", ways=3, shots=2, seed=4)
    batch = view.batch([0, 9])
    nouns, _, order = view.deal([0, 9])
    singles = Singles("novel", seed=4)
    for row, index in enumerate((0, 9)):
        for m in range(7):
            assert torch.equal(batch["image"][row, m], singles.show([nouns[row, order[row, m]]], [index * 512 + m])[0])
        assert len(torch.unique(batch["image"][row].flatten(1), dim=0)) == 7


def test_names_are_dealt_anew_and_evenly() -> None:
    view = Episodes(ways=2, shots=1, names=8)
    nouns, names, order = view.deal(np.arange(4000))
    assert np.abs(np.bincount(names.ravel(), minlength=8) / 8000 - 1 / 8).max() < 0.02
    assert abs(order[:, -1].mean() - 0.5) < 0.03 and abs((order[:, -1] == order[:, -2]).mean() - 0.5) < 0.03
    own = names[nouns == nouns[0, 0]]
    assert len(set(own.tolist())) > 4


def test_every_name_is_one_token_of_its_own() -> None:
    tokens = load_tokenizer()
    assert len({tokens.id(name) for name in NAMES}) == len(NAMES)


def test_episodes_do_not_depend_on_their_batch() -> None:
    view = Episodes(ways=2, shots=2)
    whole = view.batch(range(12))
    parts = [view.batch(range(0, 5)), view.batch(range(5, 12))]
    assert all(torch.equal(torch.cat([part[key] for part in parts]), whole[key]) for key in whole)
    assert Episodes("val").texts(range(5)) != Episodes("train").texts(range(5))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ways": 1}, "at least 2 ways"),
        ({"ways": 5, "names": 4}, "2 <= ways <= names"),
        ({"ways": 25}, "24 names"),
        ({"names": 99}, "24 names"),
        ({"shots": -1}, "0 to 16"),
        ({"shots": 17}, "0 to 16"),
        ({"split": "compositional"}, "hold no pairs"),
    ],
)
def test_bad_settings(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Episodes(**settings)
