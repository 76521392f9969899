"""Captions of scenes in twelve languages: the facts of a scene, handed to a language's grammar.

A caption is a unique description: two scenes have the same caption under a phrasing if and only if their `content`
is equal. Ordinary scenes name every object's place; scenes with copies of one noun give their number; relational
scenes (`SceneSpec.relations`) give the relation of their two objects and the row or column they share, and speak of
the object in `Scenes.subject` first, so that those have two captions a phrasing.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.hashing import below, bits
from tinyvlm.data.scenes import Scenes
from tinyvlm.data.sentences import ORDERS, PHRASINGS, Grammar, Thing, grammar
from tinyvlm.data.words import BACKGROUNDS, CELLS, COLOURS, NUMBERS, RELATIONS, SIDES, word

_LEFT, _RIGHT, _ABOVE, _BELOW = RELATIONS
_AT_LEFT, _AT_RIGHT, _AT_TOP, _AT_BOTTOM = SIDES


@lru_cache(maxsize=16)
def _language(language: str) -> tuple[Grammar, tuple[str, ...], tuple[str, ...]]:
    """Grammar, nouns and English plurals by noun id."""
    table = load_emoji()
    return grammar(language), table.names(language), tuple(table.plural(i) for i in range(len(table.nouns)))


def choose_phrasing(scenes: Scenes, phrasing: ArrayLike | None = None) -> NDArray[np.int64]:
    """Which phrasing each caption takes, int64 [B]: `phrasing` (an int, or [B]) if given, else by the scene's key.

    Raises ValueError for a phrasing outside 0 to 3 or a row of another length.
    """
    if phrasing is None:
        return below(bits(scenes.key, "phrasing"), PHRASINGS)
    chosen = np.asarray(phrasing)
    if chosen.shape not in ((), (len(scenes),)) or not np.issubdtype(chosen.dtype, np.integer):
        raise ValueError(f"phrasing has shape {chosen.shape}: give one integer, or {len(scenes)} of them")
    if chosen.size and (chosen.min() < 0 or chosen.max() >= PHRASINGS):
        raise ValueError(f"phrasing {chosen.max()}: there are {PHRASINGS} phrasings; use 0 to {PHRASINGS - 1}")
    return np.broadcast_to(chosen, (len(scenes),)).astype(np.int64)


def captions(scenes: Scenes, language: str = "en", phrasing: ArrayLike | None = None) -> list[str]:
    """One caption for each of B scenes.

    `phrasing`: 0 to 3, one for all or one for each scene; None lets each scene's key choose. Raises ValueError for
    an unknown language or phrasing.
    """
    talk, nouns, plurals = _language(language)
    chosen = choose_phrasing(scenes, phrasing).tolist()
    noun, plate, size = scenes.noun.tolist(), scenes.plate.tolist(), scenes.size.tolist()
    background, subject, many = scenes.background.tolist(), scenes.subject.tolist(), scenes.repeated.tolist()
    lines = []
    for b, form in enumerate(chosen):
        ground = BACKGROUNDS[background[b]]
        things = {
            cell: Thing(nouns[noun[b][cell]], COLOURS[plate[b][cell]], CELLS[cell], size[b][cell] == 0)
            for cell in ORDERS[form]
            if noun[b][cell] >= 0
        }
        if subject[b] >= 0:
            (other,) = things.keys() - {subject[b]}
            how, side = relation_of(subject[b], other)
            pair = things[subject[b]]._replace(place=""), things[other]._replace(place="")
            lines.append(talk.relation(pair[0], how, pair[1], side, ground, form))
        elif many[b]:
            cell, one = next(iter(things.items()))
            one = one._replace(place="", plural=plurals[noun[b][cell]])
            lines.append(talk.copies(one, NUMBERS[len(things)], ground, form))
        else:
            lines.append(talk.places(list(things.values()), ground, form))
    return lines


def relation_of(subject: int, other: int) -> tuple[str, str]:
    """The relation of two neighbouring cells, and the row or column that they share, as English terms.

    Raises ValueError for cells that are equal or lie on a diagonal.
    """
    if subject + other == 3 or subject == other:
        raise ValueError(f"cells {subject} and {other} share no row or column, so that no single relation holds")
    if subject // 2 == other // 2:
        return (_LEFT if subject < other else _RIGHT), (_AT_BOTTOM if subject // 2 else _AT_TOP)
    return (_ABOVE if subject < other else _BELOW), (_AT_RIGHT if subject % 2 else _AT_LEFT)


def template_sentences(language: str = "en", noun: str | None = None) -> list[str]:
    """Sentences with every word that captions of `language` can hold besides the nouns; `noun` stands for these.

    Needs no emoji, so that a tokenizer can be built before the emoji table is.
    """
    talk = grammar(language)
    filler = noun or word("object", language)
    plural = f"{filler}s"
    lines = []
    for form in range(PHRASINGS):
        for k, ground in enumerate(BACKGROUNDS):
            things = [
                Thing(filler, COLOURS[(k + cell) % len(COLOURS)], CELLS[cell], (k + cell) % 2 == 0) for cell in range(4)
            ]
            lines += [talk.places(things[: 1 + k % 4], ground, form), talk.places(things, ground, form)]
            first, second = things[0]._replace(place="", plural=plural), things[1]._replace(place="")
            lines.append(talk.relation(first, RELATIONS[k % 4], second, SIDES[k % 4], ground, form))
            lines.append(talk.copies(first, NUMBERS[2 + k % 3], ground, form))
    return lines
