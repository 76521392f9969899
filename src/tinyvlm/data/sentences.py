"""How a scene is put into words: four phrasings each for places, for a relation and for a number.

Three grammars. English and Korean make full sentences; the other ten languages list citation forms ("X — left,
Y — right"), because CLDR's names have no gender, case or article. A phrasing fixes wording and order of mention,
never what is said: all four name every object with its plate's colour and its place, and the background.

English keeps to "the", which fits "the dog", "the bread" and "the grapes" alike; every word is one token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tinyvlm.data.korean import Korean
from tinyvlm.data.words import adnominal, word

PHRASINGS = 4
# The order in which a phrasing walks over the cells: by rows or columns, from either end.
ORDERS: tuple[tuple[int, ...], ...] = ((0, 1, 2, 3), (3, 2, 1, 0), (0, 2, 1, 3), (3, 1, 2, 0))


class Thing(NamedTuple):
    """An object in words: English terms for colour and place, the noun in the sentence's language.

    `plural` is used by English alone, where a scene shows copies.
    """

    noun: str
    colour: str
    place: str = ""
    small: bool = False
    plural: str = ""


class Grammar(NamedTuple):
    """What a language needs: sentences for places, for a relation of two things, for copies of one thing.

    places(things, background, phrasing); relation(subject, relation, other, side, background, phrasing), where
    `side` is the row or column both are in; copies(thing, number, background, phrasing). All words are English terms.
    """

    places: Callable[[Sequence[Thing], str, int], str]
    relation: Callable[[Thing, str, Thing, str, str, int], str]
    copies: Callable[[Thing, str, str, int], str]


def _list(items: list[str], last: str = " and ") -> str:
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + last + items[-1]


# English ---------------------------------------------------------------------------------------------------------


def _name(thing: Thing) -> str:
    return f"the small {thing.noun}" if thing.small else f"the {thing.noun}"


def _english_places(things: Sequence[Thing], background: str, phrasing: int) -> str:
    if phrasing == 0:
        return f"we see {_list([f'{_name(t)} on {t.colour} {t.place}' for t in things])} over {background}"
    if phrasing == 1:
        return f"the {background} background shows {_list([f'{_name(t)} {t.place} on {t.colour}' for t in things])}"
    if phrasing == 2:
        return f"on {background} we find {_list([f'{t.place} {_name(t)} on {t.colour}' for t in things])}"
    return f"{_list([f'{t.colour} {t.place} holds {_name(t)}' for t in things])}, all on {background}"


def _english_relation(a: Thing, relation: str, b: Thing, side: str, background: str, phrasing: int) -> str:
    one, two = f"{_name(a)} on {a.colour}", f"{_name(b)} on {b.colour}"
    if phrasing == 0:
        return f"{one} is {relation} {two}, both at the {side} over {background}"
    if phrasing == 1:
        return f"the {background} background shows {one} {relation} {two} at the {side}"
    if phrasing == 2:
        return f"on {background} at the {side} we find {one} {relation} {two}"
    return f"{relation} {two} we see {one}, both at the {side} on {background}"


def _english_copies(t: Thing, number: str, background: str, phrasing: int) -> str:
    some = f"{number} small {t.plural}" if t.small else f"{number} {t.plural}"
    if phrasing == 0:
        return f"we see {some} on {t.colour} over {background}"
    if phrasing == 1:
        return f"the {background} background shows on {t.colour} {some}"
    if phrasing == 2:
        return f"on {background} we find {some} on {t.colour}"
    return f"{t.colour} holds {some}, all on {background}"


# Korean ----------------------------------------------------------------------------------------------------------


def _noun(thing: Thing) -> Korean:
    return Korean(f"작은 {thing.noun}" if thing.small else thing.noun)


def _plate(thing: Thing) -> str:
    where = f"{word(thing.place, 'ko')} " if thing.place else ""
    return f"{where}{adnominal(thing.colour)} 판"


def _korean_places(things: Sequence[Thing], background: str, phrasing: int) -> str:
    ground, behind = Korean(word(background, "ko")), adnominal(background)
    if phrasing == 0:
        listed = "있고, ".join(f"{_plate(t)}에 {_noun(t):이/가} " for t in things)
        return f"{listed}있다. 배경은 {ground:이다/다}."
    if phrasing == 1:
        return f"{behind} 배경에 {', '.join(f'{_noun(t):은/는} {_plate(t)}에' for t in things)} 놓여 있다."
    if phrasing == 2:
        listed = ", ".join(f"{_plate(t)}에 {_noun(t):을/를}" for t in things)
        return f"배경을 {ground:으로/로} 칠하고 {listed} 놓았다."
    on = [(_noun(t), f"{_plate(t)} 위의 ") for t in things]
    listed = "".join(f"{where}{noun:과/와} " for noun, where in on[:-1]) + f"{on[-1][1]}{on[-1][0]:이/가}"
    return f"이 그림에는 {listed} 보이고, 배경은 {ground:이다/다}."


def _korean_relation(a: Thing, relation: str, b: Thing, side: str, background: str, phrasing: int) -> str:
    ground, behind = Korean(word(background, "ko")), adnominal(background)
    where, both = word(relation, "ko"), word(side, "ko")
    one, two = Korean(f"{_plate(a)} 위의 {_noun(a)}"), Korean(f"{_plate(b)} 위의 {_noun(b)}")
    if phrasing == 0:
        return f"{one:은/는} {two}의 {where}에 있고, 둘 다 {both}에 있다. 배경은 {ground:이다/다}."
    if phrasing == 1:
        return f"{behind} 배경의 {both}에서 {one:이/가} {two}의 {where}에 놓여 있다."
    if phrasing == 2:
        return f"배경을 {ground:으로/로} 칠하고 {both}에서 {two}의 {where}에 {one:을/를} 놓았다."
    return f"이 그림의 {both}에는 {two:과/와} 그 {where}의 {one:이/가} 보이고, 배경은 {ground:이다/다}."


def _korean_copies(t: Thing, number: str, background: str, phrasing: int) -> str:
    ground, behind = Korean(word(background, "ko")), adnominal(background)
    some = Korean(word(number, "ko"))
    if phrasing == 0:
        return f"{_plate(t)}에 {_noun(t):이/가} {some} 있다. 배경은 {ground:이다/다}."
    if phrasing == 1:
        return f"{behind} 배경에 {_noun(t)} {some:이/가} {_plate(t)}에 놓여 있다."
    if phrasing == 2:
        return f"배경을 {ground:으로/로} 칠하고 {_plate(t)}에 {_noun(t)} {some:을/를} 놓았다."
    return f"이 그림에는 {_plate(t)} 위의 {_noun(t)} {some:이/가} 보이고, 배경은 {ground:이다/다}."


# Citation forms --------------------------------------------------------------------------------------------------


def _citation(language: str) -> Grammar:
    def say(term: str) -> str:
        return word(term, language)

    def noun(t: Thing) -> str:
        return f"{t.noun} ({say('small')})" if t.small else t.noun

    def framed(body: str, background: str, phrasing: int) -> str:
        ground = f"{say('background')} — {say(background)}"
        return f"{ground}; {body}" if phrasing in (1, 2) else f"{body}; {ground}"

    def places(things: Sequence[Thing], background: str, phrasing: int) -> str:
        form = (
            lambda t: f"{noun(t)} — {say(t.place)}, {say(t.colour)}",
            lambda t: f"{noun(t)} — {say(t.colour)}, {say(t.place)}",
            lambda t: f"{say(t.place)} — {noun(t)}, {say(t.colour)}",
            lambda t: f"{say(t.colour)}, {say(t.place)} — {noun(t)}",
        )[phrasing]
        return framed("; ".join(map(form, things)), background, phrasing)

    def relation(a: Thing, how: str, b: Thing, side: str, background: str, phrasing: int) -> str:
        one, two = f"{noun(a)}, {say(a.colour)}", f"{noun(b)}, {say(b.colour)}"
        body = (
            f"{one} — {say(how)} — {two}; {say(side)}",
            f"{say(side)}; {one} — {say(how)} — {two}",
            f"{say(side)}: {one} — {say(how)} — {two}",
            f"{say(side)} — {one} — {say(how)} — {two}",
        )[phrasing]
        return framed(body, background, phrasing)

    def copies(t: Thing, number: str, background: str, phrasing: int) -> str:
        body = (
            f"{noun(t)} — {say(number)}, {say(t.colour)}",
            f"{noun(t)} — {say(t.colour)}, {say(number)}",
            f"{say(number)} — {noun(t)}, {say(t.colour)}",
            f"{say(t.colour)}, {say(number)} — {noun(t)}",
        )[phrasing]
        return framed(body, background, phrasing)

    return Grammar(places, relation, copies)


def grammar(language: str) -> Grammar:
    """The grammar of one of the twelve languages; ValueError for any other."""
    word("red", language)  # refuses a language the world does not have
    if language == "en":
        return Grammar(_english_places, _english_relation, _english_copies)
    if language == "ko":
        return Grammar(_korean_places, _korean_relation, _korean_copies)
    return _citation(language)
