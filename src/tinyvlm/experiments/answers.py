"""Answers to questions by kind, and what can be had without the model: from habit, or without the question's noun.

The second matters for every claim about binding: in a scene with few objects, whoever knows all of the scene but not
*which* object is asked about is often right. Only a share above `noun_blind` shows that the noun was used.
"""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from tinyvlm.data.facts import Facts, each
from tinyvlm.data.questions import KINDS, Question, questions
from tinyvlm.data.scenes import Scenes
from tinyvlm.data.words import CELLS


def by_kind(asked: Sequence[Question], right: Sequence[float]) -> dict[str, float]:
    """Mean of `right` (one number a question, in [0, 1]) as "answers", and as "answers: KIND" for each kind asked.

    ValueError when there is not one number for each question, or no question.
    """
    if not asked or len(asked) != len(right):
        raise ValueError(f"{len(right)} numbers for {len(asked)} questions: give one for each, and at least one.")
    kinds = {kind: [float(r) for q, r in zip(asked, right, strict=True) if q.kind == kind] for kind in KINDS}
    return {"answers": fmean(map(float, right))} | {f"answers: {k}": fmean(v) for k, v in kinds.items() if v}


def names_noun(question: Question) -> bool:
    """Whether the question names an object: covering the noun then takes something away."""
    return question.kind in ("where", "yes or no") or question.text.endswith(" on?")


def most_frequent(known: Sequence[Question], asked: Sequence[Question]) -> list[float]:
    """For each question whether the most frequent answer to its kind in `known` is right: 1 or 0."""
    answers: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    for question in known:
        answers[question.kind][question.answer] += 1
    habits = {kind: max(counts, key=counts.__getitem__) for kind, counts in answers.items() if counts}
    return [float(habits.get(q.kind) == q.answer) for q in asked]


def noun_blind(scenes: Scenes, kind: str | None = None) -> list[float]:
    """For each question of `questions(scenes, kind)` how likely an ideal is right that sees all but the noun.

    It knows the scene's objects, plates, places and background, every other word of the question, and how questions
    are drawn; it gives the likeliest answer. Exact: nothing is sampled.
    """
    asked = questions(scenes, kind)
    return [_chance(question, facts) for question, facts in zip(asked, each(scenes, "question"), strict=True)]


def _chance(question: Question, facts: Facts) -> float:
    """How likely the likeliest answer is when the question's noun is covered. Each object is as likely asked about."""
    text, objects = question.text, len(facts.noun)
    if not names_noun(question):
        return 1.0
    if question.kind == "where":
        return 1 / objects
    if question.kind == "which colour":
        return max(Counter(facts.colour.values()).values()) / objects
    place = next((cell for cell, name in enumerate(CELLS) if text.endswith(f" at {name}?")), None)
    colour = next((name for name in facts.colours if text.endswith(f" on {name}?")), None)
    if place is None and colour is None:
        return 0.5  # is there the ...?
    yes = no = 0.0
    for cell, noun in facts.noun.items():
        # Had this object been drawn: a coin says whether its own place or colour is named, or one of the others.
        if place is not None:
            yes += cell == place
            elsewhere = [c for c in range(4) if facts.noun.get(c) != noun]
            # With copies in all four places, an absent noun is asked about at the object's own.
            no += (place in elsewhere) / len(elsewhere) if elsewhere else cell == place
        else:
            yes += facts.colour[cell] == colour
            others = [name for name in facts.colours if name != facts.colour[cell]]
            no += (colour in others) / len(others) if others else 0.0
    return max(yes, no) / (yes + no)
