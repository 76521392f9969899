"""Edited captions: what is exchanged, what is hidden, and which noun a painted cell counts as."""

import pytest
import torch

from tinyvlm.data.scenes import SceneSpec, pool
from tinyvlm.data.world import World
from tinyvlm.encoders import normalise
from tinyvlm.experiments.edits import cut_cell, edits, fill, followed, nearest, paint
from tinyvlm.experiments.worlds import world
from tinyvlm.models import MaskVLM

SPEC = SceneSpec(objects=(1, 2), plates=4, backgrounds=2, nouns=16)


@pytest.fixture(scope="module")
def scenes() -> World:
    return world("val", 0, 48, SPEC)


def test_one_noun_is_exchanged_in_words_and_its_own_cell_is_hidden(scenes: World) -> None:
    given = edits(scenes, 40)
    plain = scenes.batch(range(40))
    assert torch.equal(given.image, plain["image"]) and torch.equal(given.text, plain["text"])
    changes = (given.text != given.edited).sum(1)
    assert (changes == 1).all() and torch.equal(given.text_mask, given.edited_mask)
    assert (given.old != given.new).all() and given.captions != given.edited_captions
    changed = scenes.changed_images(range(40), "object")["image"]
    for side in (2, 4):
        hidden = given.hidden(side)
        assert (hidden.sum(1) == side**2 // 4).all()
    moved = [(cut_cell(given.image, torch.full((40,), c)) != cut_cell(changed, torch.full((40,), c))) for c in range(4)]
    where = torch.stack([one.flatten(1).any(1) for one in moved], 1)
    assert torch.equal(where, given.hidden(2))


def test_candidates_are_the_cell_with_each_noun(scenes: World) -> None:
    given, rows = edits(scenes, 12), torch.arange(12)
    shown = given.candidates()
    assert shown.shape == (12, 16, 3, 24, 24) and torch.equal(given.nouns, torch.from_numpy(pool(SPEC, "val")))
    assert torch.equal(shown[rows, given.old], cut_cell(given.image, given.cell))
    changed = scenes.changed_images(range(12), "object")["image"]
    assert torch.equal(shown[rows, given.new], cut_cell(changed, given.cell))
    assert torch.equal(given.candidates(slice(5, 9)), shown[5:9])


def test_a_cell_that_shows_a_noun_is_nearest_to_it_faint_or_not(scenes: World) -> None:
    given = edits(scenes, 12)
    shown = given.candidates()
    cell = normalise(shown[torch.arange(12), given.new])
    middle = normalise(shown.flatten(0, 1)).unflatten(0, (12, 16)).mean(1)
    for found in nearest(cell, shown).values():
        assert torch.equal(found, given.new)
    assert torch.equal(nearest(middle + 0.05 * (cell - middle), shown)["cosine"], given.new)


def test_shares_of_painters_that_are_known(scenes: World) -> None:
    """One that copies the picture, and one that paints what it is told."""
    given = edits(scenes, 64)
    right = normalise(scenes.changed_images(range(64), "object")["image"])

    def copies(image, hidden, text, mask):
        return normalise(image)

    kept = followed(copies, scenes, 2, count=64)
    assert {kept[f"old noun kept, {by}"] for by in ("L2", "cosine")} == {1.0} == {kept["true noun, L2"]}
    assert kept["edit followed, L2"] == kept["edit followed, cosine"] == 0

    calls = []

    def follows(image, hidden, text, mask):
        calls.append(len(image))
        assert torch.equal(hidden, given.hidden(4)[: len(hidden)])
        return right[: len(image)] if torch.equal(text, given.edited[: len(text)]) else normalise(image)

    found = followed(follows, scenes, 4, count=16)
    assert calls == [16, 16] and found["edit followed, L2"] == found["true noun, cosine"] == 1
    assert found["old noun kept, L2"] == 0
    chunked = followed(paint(MaskVLM.named("micro")), scenes, 2, count=20, chunk=7)
    assert set(chunked) == set(found) and all(
        value * 20 == pytest.approx(round(value * 20)) for value in chunked.values()
    )


def test_a_model_answers_from_words_and_what_is_left_of_the_picture(scenes: World) -> None:
    model, given = MaskVLM.named("micro").eval(), edits(scenes, 4)
    hidden = given.hidden(2)
    with torch.no_grad():
        found = paint(model)(given.image, hidden, given.edited, given.edited_mask)
        expected = model.reconstruct(normalise(given.image), hidden, given.edited, given.edited_mask)
    assert torch.equal(found, expected)


def test_a_world_without_other_nouns_is_refused() -> None:
    lone = world("val", 0, 48, SceneSpec(objects=(2, 2), plates=4, backgrounds=2, nouns=2))
    with pytest.raises(ValueError, match="scene 0 admits no other noun; give the world more nouns"):
        edits(lone, 4)


def test_hidden_patches_are_grey_or_painted_and_the_rest_is_the_picture(scenes: World) -> None:
    given = edits(scenes, 6)
    painted = torch.full((6, 3, 48, 48), 3.0)
    for side in (2, 4):
        covered, filled = fill(given.image, given.hidden(side), painted)
        assert 0 <= covered.min() and filled.max() == 1
        for cell in range(4):
            cells = torch.full((6,), cell)
            here = given.cell == cell
            for shown, value in ((covered, 0.6), (filled, 1.0)):
                assert (cut_cell(shown, cells)[here] == value).all()
                torch.testing.assert_close(cut_cell(shown, cells)[~here], cut_cell(given.image / 255, cells)[~here])
