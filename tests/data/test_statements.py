from collections import Counter, defaultdict

import numpy as np
import pytest
import torch

from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.render import render
from tinyvlm.data.scenes import Scenes, SceneSpec, sample_scenes
from tinyvlm.data.statements import HIDDEN, Statement, Statements, compare, entail, verify
from tinyvlm.data.tokenizer import load_tokenizer
from tinyvlm.data.words import BACKGROUNDS, CELLS, COLOURS, NUMBERS

MIXED = SceneSpec(repeats=0.2, relations=0.2, plates=4, backgrounds=3)


class Seen:
    """What a reader of one picture knows."""

    def __init__(self, scenes: Scenes, row: int) -> None:
        names = load_emoji().names("en")
        self.noun = {k: names[n] for k, n in enumerate(scenes.noun[row].tolist()) if n >= 0}
        self.colour = {k: COLOURS[scenes.plate[row, k]] for k in self.noun}
        self.ground = BACKGROUNDS[scenes.background[row]]

    def holds(self, claim: str) -> bool:
        """Whether "the dog is at top left", "... on red" or "... left of the cat" is true of the picture."""
        words = claim.split()
        cells = [k for k, noun in self.noun.items() if noun == words[1]]
        if words[3] == "at":
            return CELLS.index(" ".join(words[4:])) in cells
        if words[3] == "on":
            return words[4] in {self.colour[k] for k in cells}
        (a,), (b,) = cells, [k for k, noun in self.noun.items() if noun == words[-1]]
        (ya, xa), (yb, xb) = divmod(a, 2), divmod(b, 2)
        return {"left": ya == yb and xa < xb, "right": ya == yb and xa > xb,
                "above": xa == xb and ya < yb, "below": xa == xb and ya > yb}[words[3]]  # fmt: skip

    def true(self, text: str) -> bool:
        words = text.split()
        if text.startswith("the background is"):
            return words[-1] == self.ground
        if text.startswith("the number of objects is"):
            return words[-1] == NUMBERS[len(self.noun)]
        return self.holds(text)


def test_verify_is_right_and_half_true() -> None:
    scenes = sample_scenes(MIXED, "train", 0, np.arange(3000))
    made = verify(scenes)
    assert all(Seen(scenes, row).true(s.text) == bool(s.label) for row, s in enumerate(made))
    assert 0.46 < np.mean([s.label for s in made]) < 0.54
    forms = Counter(" ".join(s.text.split()[2:4]) for s in made)
    assert {"is at", "is on", "is left", "is right", "is above", "is below"} < set(forms)


def test_entailment_is_right_and_cannot_be_read_off_the_words() -> None:
    scenes = sample_scenes(SceneSpec(), "train", 0, np.arange(6000))
    labels: dict[str, list[int]] = defaultdict(list)
    for row, (text, label) in enumerate(entail(scenes)):
        seen = Seen(scenes, row)
        subject, _, rest = text.partition(" is ")
        claims = rest.split(" or ")
        (hidden,) = set(claims) & set(HIDDEN)
        (visible,) = set(claims) - {hidden}
        if label == 2:
            assert subject.removeprefix("the ") not in seen.noun.values()
        else:
            assert subject.removeprefix("the ") in seen.noun.values()
            assert seen.holds(f"{subject} is {visible}") == (label == 0)
        for word in (visible, hidden, f"{claims.index(hidden)} {visible.split()[0]}"):
            labels[word].append(label)
    shares = {word: np.bincount(found, minlength=3) / len(found) for word, found in labels.items()}
    assert max(np.abs(share - 1 / 3).max() for share in shares.values()) < 0.08


def test_copies_everywhere_and_one_colour_still_make_right_statements() -> None:
    scenes = sample_scenes(SceneSpec(plates=1, backgrounds=1, repeats=1), "train", 0, np.arange(400))
    for row, (text, label) in enumerate(entail(scenes)):
        seen, (subject, _, rest) = Seen(scenes, row), text.partition(" is ")
        (visible,) = [claim for claim in rest.split(" or ") if claim not in HIDDEN]
        there = subject.removeprefix("the ") in seen.noun.values()
        assert label == (2 if not there else int(not seen.holds(f"{subject} is {visible}")))
    assert all(Seen(scenes, row).true(s.text) == bool(s.label) for row, s in enumerate(verify(scenes)))


def true_of_two(text: str, left: Seen, right: Seen) -> bool:
    words = text.split()
    if text.startswith("there are more"):
        difference = len(left.noun) - len(right.noun)
        return difference > 0 if words[-2] == "left" else difference < 0
    if words[1:4] == ["right", "picture", "has"]:
        return (left.ground == right.ground) == (words[-2] == "same")
    inside, outside = (left, right) if words[-2] == "left" else (right, left)
    assert (words[1] in inside.noun.values()) != (words[1] in outside.noun.values())
    return words[1] in inside.noun.values()


def test_comparisons_are_right_and_half_true() -> None:
    spec = SceneSpec(repeats=0.2, relations=0.2)  # of two backgrounds, half of all pairs have the same
    a, b = (sample_scenes(spec, "train", seed, np.arange(3000)) for seed in (0, 1))
    made = compare(a, b)
    assert all(true_of_two(s.text, Seen(a, row), Seen(b, row)) == bool(s.label) for row, s in enumerate(made))
    by_form: dict[str, list[int]] = defaultdict(list)
    for s in made:
        by_form[" ".join(s.text.split()[-2:])].append(s.label)
    assert set(by_form) == {"left picture", "right picture", "same background", "another background"}
    assert all(0.42 < np.mean(found) < 0.58 for found in by_form.values())


@pytest.mark.parametrize("task", ["verify", "compare", "entail"])
def test_batches_hold_the_statements(task: str) -> None:
    view = Statements("val", spec=MIXED)
    batch, tokens = view.batch(range(30), task), load_tokenizer()
    scenes = view.scenes(range(30))
    first = batch["image"][:, 0] if task == "compare" else batch["image"]
    assert torch.equal(first, render(scenes))
    if task != "compare":
        made: list[Statement] = verify(scenes) if task == "verify" else entail(scenes)
        assert [tokens.decode(row) for row in batch["text"]] == [s.text for s in made]
        assert batch["label"].tolist() == [s.label for s in made]
    else:
        assert batch["image"].shape == (30, 2, 3, 48, 48) and not torch.equal(first, batch["image"][:, 1])
    halves = [view.batch(range(0, 11), task), view.batch(range(11, 30), task)]
    assert all(torch.equal(torch.cat([half[key] for half in halves]), batch[key]) for key in batch)


def test_unknown_task() -> None:
    with pytest.raises(ValueError, match="unknown task 'guess'"):
        Statements().batch([0], task="guess")
