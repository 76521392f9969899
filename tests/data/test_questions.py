from collections import Counter

import numpy as np
import pytest
import torch

from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.questions import KINDS, NOTHING, Questions, answer_vocabulary, questions
from tinyvlm.data.scenes import Scenes, SceneSpec, sample_scenes
from tinyvlm.data.tokenizer import load_tokenizer
from tinyvlm.data.words import BACKGROUNDS, CELLS, COLOURS, NUMBERS

MIXED = SceneSpec(repeats=0.2, relations=0.2, plates=4, backgrounds=3)


def reply(text: str, scenes: Scenes, row: int) -> set[str]:
    """All right answers, found by reading the question against the scene."""
    names = load_emoji().names("en")
    noun = {CELLS[k]: names[n] for k, n in enumerate(scenes.noun[row].tolist()) if n >= 0}
    colour = {CELLS[k]: COLOURS[scenes.plate[row, k]] for k in range(4) if scenes.noun[row, k] >= 0}
    words = text.removesuffix("?").split()
    place = " ".join(words[-2:])
    if text.startswith("what is at"):
        return {noun.get(place, NOTHING)}
    if text.startswith("where is the"):
        return {where for where, name in noun.items() if name == words[-1]}
    if text == "how many objects are there?":
        return {NUMBERS[len(noun)]}
    if text.startswith("how many objects are on"):
        return {NUMBERS[list(colour.values()).count(words[-1])]}
    if text == "which colour is the background?":
        return {BACKGROUNDS[scenes.background[row]]}
    if text.startswith("which colour is at"):
        return {colour[place]}
    if text.startswith("which colour is the"):
        return {colour[where] for where, name in noun.items() if name == words[4]}
    if text.startswith("is there the"):
        return {"yes" if words[-1] in noun.values() else "no"}
    assert text.startswith("is the"), text
    if words[3] == "at":
        return {"yes" if noun.get(place) == words[2] else "no"}
    return {"yes" if (words[2], words[-1]) in {(noun[where], colour[where]) for where in noun} else "no"}


@pytest.mark.parametrize("split", ["train", "compositional", "novel"])
@pytest.mark.parametrize("kind", [None, *KINDS])
def test_every_answer_is_the_one_right_answer(kind: str | None, split: str) -> None:
    scenes = sample_scenes(MIXED, split, 0, np.arange(500))
    for row, question in enumerate(questions(scenes, kind)):
        assert reply(question.text, scenes, row) == {question.answer}, question
        assert question.answer in answer_vocabulary()


def test_kinds_and_answers_are_even() -> None:
    asked = questions(sample_scenes(SceneSpec(), "train", 0, np.arange(6000)))
    kinds = Counter(q.kind for q in asked)
    assert set(kinds) == set(KINDS) and min(kinds.values()) > 850
    by_kind = {kind: Counter(q.answer for q in asked if q.kind == kind) for kind in KINDS}
    total = by_kind["yes or no"].total()
    assert abs(by_kind["yes or no"]["yes"] / total - 0.5) < 0.05
    assert 0 < by_kind["what"][NOTHING] < 0.15 * by_kind["what"].total()
    assert set(by_kind["how many"]) == set(NUMBERS[:5])
    assert max(by_kind["where"].values()) < 0.32 * by_kind["where"].total()
    assert max(by_kind["which colour"].values()) < 0.32 * by_kind["which colour"].total()


def test_the_vocabulary_has_every_answer_once() -> None:
    vocabulary = answer_vocabulary()
    assert len(set(vocabulary)) == len(vocabulary)
    nouns = load_emoji().names("en")
    assert {"yes", "no", NOTHING, *NUMBERS[:5], *COLOURS, *BACKGROUNDS, *CELLS, *nouns} == set(vocabulary)


def test_batches_hold_the_questions() -> None:
    view = Questions("val", spec=MIXED)
    batch = view.batch(range(40))
    asked, tokens = questions(view.scenes(range(40))), load_tokenizer()
    assert batch["image"].shape == (40, 3, 48, 48) and batch["answer"].shape == batch["answer_mask"].shape == (40, 8)
    for row, question in enumerate(asked):
        assert tokens.decode(batch["text"][row]) == question.text
        assert tokens.decode(batch["answer"][row]) == question.answer
        assert answer_vocabulary()[batch["label"][row]] == question.answer
        assert KINDS[batch["kind"][row]] == question.kind
    halves = [view.batch(range(0, 20)), view.batch(range(20, 40))]
    assert all(torch.equal(torch.cat([half[key] for half in halves]), batch[key]) for key in batch)
    assert set(Questions().source(30, kind="where")(0)["kind"].tolist()) == {KINDS.index("where")}


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="unknown kind of question 'why'"):
        Questions().batch([0], kind="why")
