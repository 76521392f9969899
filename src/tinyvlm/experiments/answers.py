"""Answers to questions by kind, and what can be had without the model: from habit, or without the question's noun.

The second matters for every claim about binding: in a scene with few objects, whoever knows all of the scene but not
*which* object is asked about is often right. Only a share above `noun_blind` shows that the noun was used.
"""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from tinyvlm.data.facts import Facts, each
from tinyvlm.data.questions import KINDS, Question, Questions, questions
from tinyvlm.data.words import CELLS


def by_kind(asked: Sequence[Question], right: Sequence[float]) -> dict[str, float]:
    """Mean of `right` (one number a question, in [0, 1]) as "answers", and as "answers: KIND" for each kind asked.

    ValueError when there is not one number for each question, or no question.
    """
    if not asked or len(asked) != len(right):
        raise ValueError(f"{len(right)} numbers for {len(asked)} questions: give one for each, and at least one.")
    kinds = {kind: [float(r) for q, r in zip(asked, right, strict=True) if q.kind == kind] for kind in KINDS}
    return {"answers": fmean(map(float, right))} | {f"answers: {k}": fmean(v) for k, v in kinds.items() if v}


def most_frequent(known: Sequence[Question], asked: Sequence[Question]) -> dict[str, float]:
    """Shares of right answers (see `by_kind`) of who always gives the most frequent answer to that kind in `known`."""
    answers: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    for question in known:
        answers[question.kind][question.answer] += 1
    habits = {kind: max(counts, key=counts.__getitem__) for kind, counts in answers.items() if counts}
    return by_kind(asked, [float(habits.get(q.kind) == q.answer) for q in asked])


def noun_blind(view: Questions, count: int) -> dict[str, float]:
    """Expected shares of right answers of an ideal that sees everything but the question's noun (see `by_kind`).

    It knows objects, plates, places and background of each of the view's first `count` scenes, every other word of
    the question, and how questions are drawn; it gives the likeliest answer. Exact: nothing is sampled.
    """
    scenes = view.scenes(range(count))
    asked = questions(scenes)
    return by_kind(asked, [_chance(q, facts) for q, facts in zip(asked, each(scenes, "question"), strict=True)])


def _chance(question: Question, facts: Facts) -> float:
    """How likely the likeliest answer is when the question's noun is covered. Each object is as likely asked about."""
    text, objects = question.text, len(facts.noun)
    if question.kind == "where":
        return 1 / objects
    if question.kind == "which colour" and text.endswith(" on?"):
        return max(Counter(facts.colour.values()).values()) / objects
    if question.kind != "yes or no":
        return 1.0  # no noun in it
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
