"""Questions about scenes, each with one short answer from a closed vocabulary.

Six kinds, drawn evenly from those that a scene admits. Within a kind the answers are as even as scenes allow: half
of the yes-no questions are true, and "nothing" and "zero" do occur.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from numpy.typing import ArrayLike

from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.facts import Facts, each
from tinyvlm.data.render import render
from tinyvlm.data.scenes import Scenes
from tinyvlm.data.views import Batch, as_indices, encode
from tinyvlm.data.words import BACKGROUNDS, CELLS, COLOURS, NUMBERS
from tinyvlm.data.world import World

NOTHING = "nothing"
ANSWER_CONTEXT = 8  # tokens, BOS and EOS included


class Question(NamedTuple):
    """A question, its answer (a member of `answer_vocabulary()`) and its kind (a member of `KINDS`)."""

    text: str
    answer: str
    kind: str


def _what(facts: Facts) -> tuple[str, str]:
    empty = [cell for cell in range(4) if cell not in facts.noun]
    cell = facts.one(empty) if facts.draw(8) == 0 and empty else facts.present()
    return f"what is at {CELLS[cell]}?", facts.noun.get(cell, NOTHING)


def _where(facts: Facts) -> tuple[str, str]:
    cell = facts.present()
    return f"where is the {facts.noun[cell]}?", CELLS[cell]


def _how_many(facts: Facts) -> tuple[str, str]:
    if facts.coin():
        return "how many objects are there?", NUMBERS[len(facts.noun)]
    colour = facts.one(facts.colours)
    return f"how many objects are on {colour}?", NUMBERS[sum(c == colour for c in facts.colour.values())]


def _which_colour(facts: Facts) -> tuple[str, str]:
    cell = facts.present()
    if facts.copies or facts.coin():
        return f"which colour is at {CELLS[cell]}?", facts.colour[cell]
    return f"which colour is the {facts.noun[cell]} on?", facts.colour[cell]


def _background(facts: Facts) -> tuple[str, str]:
    return "which colour is the background?", facts.background


def _yes_or_no(facts: Facts) -> tuple[str, str]:
    cell, truth = facts.present(), facts.coin()
    noun, form = facts.noun[cell], facts.draw(3)
    if form == 0:
        text = f"is there the {noun if truth else facts.absent_noun()}?"
    elif form == 1:
        # Copies may stand in all four cells; then no place is wrong, and a missing noun makes the answer no.
        place = CELLS[cell] if truth else facts.absent_place(cell)
        text = f"is the {noun} at {place}?" if place else f"is the {facts.absent_noun()} at {CELLS[cell]}?"
    else:
        colour = facts.colour[cell] if truth else facts.other(facts.colours, facts.colour[cell])
        truth = truth or colour == facts.colour[cell]
        text = f"is the {noun} on {colour}?"
    return text, "yes" if truth else "no"


_MAKERS: dict[str, Callable[[Facts], tuple[str, str]]] = {
    "what": _what,
    "where": _where,
    "how many": _how_many,
    "which colour": _which_colour,
    "background": _background,
    "yes or no": _yes_or_no,
}
KINDS: tuple[str, ...] = tuple(_MAKERS)


@lru_cache(maxsize=1)
def answer_vocabulary() -> tuple[str, ...]:
    """All answers in a fixed order: yes, no, nothing, zero to four, colours, backgrounds, places, nouns; all differ."""
    answers = ("yes", "no", NOTHING, *NUMBERS[:5], *COLOURS, *BACKGROUNDS, *CELLS, *load_emoji().names("en"))
    return tuple(dict.fromkeys(answers))


@lru_cache(maxsize=1)
def _answer_ids() -> dict[str, int]:
    return {answer: i for i, answer in enumerate(answer_vocabulary())}


def questions(scenes: Scenes, kind: str | None = None) -> list[Question]:
    """One question for each of B scenes, of the given kind, or of a kind drawn from the scene's key.

    "where" is asked only of scenes without copies: for those with copies, asking for it gives "what". Raises
    ValueError for an unknown kind.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"unknown kind of question {kind!r}: choose one of {', '.join(KINDS)}")
    made = []
    for facts in each(scenes, "question"):
        drawn = facts.one(KINDS)
        chosen = kind or drawn
        if chosen == "where" and facts.copies:
            chosen = "what"
        made.append(Question(*_MAKERS[chosen](facts), chosen))
    return made


class Questions(World):
    """Scenes with a question and its answer; made like a `World`, English only."""

    def batch(self, indices: ArrayLike, kind: str | None = None) -> Batch:  # type: ignore[override]
        """image uint8 [B,3,S,S]; text, text_mask [B,context] (the question); answer int64 and answer_mask bool
        [B,8]; label int64 [B], the answer's place in `answer_vocabulary()`; kind int64 [B], the place in `KINDS`;
        index int64 [B]. Raises ValueError for an unknown kind."""
        index = as_indices(indices)
        scenes = self.scenes(index)
        asked = questions(scenes, kind)
        text, text_mask = encode([q.text for q in asked], self.context)
        answer, answer_mask = encode([q.answer for q in asked], ANSWER_CONTEXT)
        return {
            "image": render(scenes, self.size),
            "text": text,
            "text_mask": text_mask,
            "answer": answer,
            "answer_mask": answer_mask,
            "label": torch.tensor([_answer_ids()[q.answer] for q in asked]),
            "kind": torch.tensor([KINDS.index(q.kind) for q in asked]),
            "index": torch.from_numpy(index),
        }


def template_sentences(language: str = "en", noun: str = "object") -> list[str]:
    """Sentences with every word of questions and answers besides the nouns. English only: empty for others."""
    if language != "en":
        return []
    fixed = ["how many objects are there?", "which colour is the background?", f"yes no {NOTHING}"]
    placed = [f"what is at {place}? which colour is at {place}? is the {noun} at {place}?" for place in CELLS]
    coloured = [f"how many objects are on {c}? which colour is the {noun} on? is the {noun} on {c}?" for c in COLOURS]
    asked = [f"where is the {noun}?", f"is there the {noun}?"]
    return [*fixed, *placed, *coloured, *asked, " ".join(NUMBERS[:5]), *BACKGROUNDS]
