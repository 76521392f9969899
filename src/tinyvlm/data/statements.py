"""Statements about pictures: true or false, of one picture or of two; entailed, open or contradicted.

In every family the label cannot be guessed from the words: true and false statements (or all three of entailment,
neutral and contradiction) are made of the same words equally often.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from tinyvlm.data.captions import relation_of
from tinyvlm.data.facts import Facts, each
from tinyvlm.data.hashing import below, bits
from tinyvlm.data.render import render
from tinyvlm.data.scenes import Scenes
from tinyvlm.data.views import Batch, as_indices, encode
from tinyvlm.data.words import BACKGROUNDS, CELLS, COLOURS, NUMBERS, RELATIONS, SIDES
from tinyvlm.data.world import World

TASKS: tuple[str, ...] = ("verify", "compare", "entail")
VERDICTS: tuple[str, ...] = ("false", "true")
ENTAILMENT: tuple[str, ...] = ("entailment", "neutral", "contradiction")
# What no picture shows: with "or", these make a statement open without giving it away.
HIDDEN: tuple[str, ...] = ("old", "new", "heavy", "light", "cheap", "rare")


class Statement(NamedTuple):
    """A statement and its label: a place in VERDICTS, or in ENTAILMENT."""

    text: str
    label: int


def verify(scenes: Scenes) -> list[Statement]:
    """One statement about each of B scenes, true for half of them: on a place, a plate, a number, a relation or the
    background."""
    return [_verify(facts) for facts in each(scenes, "statement")]


def _verify(facts: Facts) -> Statement:
    cell, truth, form = facts.present(), facts.coin(), facts.draw(5)
    noun = facts.noun[cell]
    pairs = [(a, b) for a in facts.noun for b in facts.noun if a != b and a + b != 3]
    if form == 0 and not facts.copies:
        return Statement(f"the {noun} is at {CELLS[cell] if truth else facts.absent_place(cell)}", int(truth))
    if form == 1 and len(facts.colours) > 1:
        colour = facts.colour[cell] if truth else facts.other(facts.colours, facts.colour[cell])
        return Statement(f"the {noun} is on {colour}", int(truth))
    if form == 2 and pairs and not facts.copies:
        a, b = facts.one(pairs)
        how, _ = relation_of(*((a, b) if truth else (b, a)))
        return Statement(f"the {facts.noun[a]} is {how} the {facts.noun[b]}", int(truth))
    if form == 3 and len(facts.backgrounds) > 1:
        ground = facts.background if truth else facts.other(facts.backgrounds, facts.background)
        return Statement(f"the background is {ground}", int(truth))
    number = NUMBERS[len(facts.noun)]
    return Statement(f"the number of objects is {number if truth else facts.other(NUMBERS[1:5], number)}", int(truth))


def entail(scenes: Scenes) -> list[Statement]:
    """One hypothesis about each of B scenes: entailed, neutral and contradicted by the picture a third each.

    All have the form "the dog is at top left or old": entailed if the place (or plate) is right; neutral if the dog
    is there but elsewhere, for a picture does not show age; contradicted if there is no dog.
    """
    made = []
    for facts in each(scenes, "hypothesis"):
        cell, label, hidden = facts.present(), facts.draw(3), facts.one(HIDDEN)
        name = facts.absent_noun() if label == 2 else facts.noun[cell]
        colour = facts.colour[cell] if label == 0 else facts.other(facts.colours, facts.colour[cell])
        wrong = CELLS[cell] if label == 0 else facts.absent_place(cell)
        on_plate = facts.coin()
        if (on_plate or not wrong) and len(facts.colours) > 1:
            claim = f"on {colour}"
        else:
            claim = f"at {wrong or CELLS[cell]}"
            label = 0 if label == 1 and not wrong else label
        either = f"{claim} or {hidden}" if facts.coin() else f"{hidden} or {claim}"
        made.append(Statement(f"the {name} is {either}", label))
    return made


def compare(left: Scenes, right: Scenes) -> list[Statement]:
    """One statement about each pair of pictures, true for half of them where the pair allows it.

    On which picture an object is in, which has more objects, and whether the backgrounds are the same; the last is
    balanced against its words where the spec has two backgrounds.
    """
    made = []
    for a, b in zip(each(left, "comparison"), each(right, "comparison"), strict=True):
        truth, form, here = a.coin(), a.draw(3), a.coin()
        sides = (a, b) if here else (b, a)
        name = sides[0].noun[sides[0].present()]
        if form == 0 and name not in sides[1].noun.values():
            side = SIDES[0] if here == truth else SIDES[1]
            made.append(Statement(f"the {name} is in the {side} picture", int(truth)))
        elif form == 1 and len(a.noun) != len(b.noun):
            more = SIDES[0] if (len(a.noun) > len(b.noun)) == truth else SIDES[1]
            made.append(Statement(f"there are more objects in the {more} picture", int(truth)))
        else:
            same = a.background == b.background
            word = "the same" if same == truth else "another"
            made.append(Statement(f"the right picture has {word} background", int(truth)))
    return made


class Statements(World):
    """Pictures with a statement and its label; made like a `World`, English only."""

    def batch(self, indices: ArrayLike, task: str = "verify") -> Batch:  # type: ignore[override]
        """image uint8 [B,3,S,S] (for "compare" [B,2,3,S,S]: left, right); text, text_mask [B,context]; label int64
        [B], the place in `VERDICTS`, or for "entail" in `ENTAILMENT`; index int64 [B].

        The second picture of a comparison is another scene of the same stream, drawn from the index. Raises
        ValueError for an unknown task.
        """
        if task not in TASKS:
            raise ValueError(f"unknown task {task!r}: choose one of {', '.join(TASKS)}")
        index = as_indices(indices)
        scenes = self.scenes(index)
        image = render(scenes, self.size)
        if task == "compare":
            partner = self.scenes(below(bits(scenes.key, "partner"), 2**31 - 1))
            made = compare(scenes, partner)
            image = torch.stack([image, render(partner, self.size)], 1)
        else:
            made = verify(scenes) if task == "verify" else entail(scenes)
        text, mask = encode([statement.text for statement in made], self.context)
        label = torch.from_numpy(np.array([statement.label for statement in made], np.int64))
        return {"image": image, "text": text, "text_mask": mask, "label": label, "index": torch.from_numpy(index)}


def template_sentences(language: str = "en", noun: str = "object") -> list[str]:
    """Sentences with every word of statements besides the nouns. English only: empty for other languages."""
    if language != "en":
        return []
    hidden = [f"the {noun} is at {place} or {word}" for place in CELLS for word in HIDDEN]
    hidden += [f"the {noun} is {word} or on {colour}" for colour in COLOURS for word in HIDDEN]
    relations = [f"the {noun} is {how} the {noun}" for how in RELATIONS]
    pictures = [f"the {noun} is in the {side} picture" for side in SIDES[:2]]
    pictures += [f"there are more objects in the {side} picture" for side in SIDES[:2]]
    grounds = [f"the right picture has {which} background" for which in ("the same", "another")]
    grounds += [f"the background is {ground}" for ground in BACKGROUNDS]
    return [*hidden, *relations, *pictures, *grounds, *(f"the number of objects is {n}" for n in NUMBERS[:5])]
