"""What answers are worth without the model: by habit, and of an ideal that sees everything but the question's noun."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.questions import KINDS, Question, Questions, questions
from tinyvlm.data.scenes import SceneSpec
from tinyvlm.data.words import CELLS
from tinyvlm.experiments import answers, week04
from tinyvlm.experiments.worlds import FEW, FULL


def covered(question: Question) -> str:
    """The question with its noun covered. Places and colours stay: they are no nouns of the emoji's list."""
    for noun in sorted(load_emoji().names("en"), key=len, reverse=True):
        if f" the {noun}" in question.text and noun != "background":
            return question.text.replace(f" the {noun}", " the ...")
    return question.text


def best_guess(view: Questions, row: int, kind: str, draws: int) -> dict[str, float]:
    """Covered question -> share of its commonest answer, over `draws` questions about one and the same scene."""
    same = view.scenes([row])[np.zeros(draws, dtype=int)]
    keys = np.random.default_rng(row).integers(0, 2**63, draws).astype(np.uint64)
    counts: dict[str, Counter[str]] = {}
    for question in questions(replace(same, key=keys), kind):
        counts.setdefault(covered(question), Counter())[question.answer] += 1
    return {text: max(c.values()) / c.total() for text, c in counts.items() if c.total() >= 600}


@pytest.mark.parametrize("spec", [FEW, FULL, replace(FULL, objects=(4, 4), nouns=6)], ids=["few", "full", "four"])
@pytest.mark.parametrize("kind", ["where", "which colour", "yes or no"])
def test_the_noun_blind_ideal_is_the_best_guess_about_a_scene_drawn_again_and_again(spec: SceneSpec, kind: str) -> None:
    view = Questions("val", seed=0, spec=spec, size=48, context=24)
    checked = 0
    for row in range(5):
        guess = best_guess(view, row, kind, 6000)
        # The same scene with other keys: each asks one question of this kind, and is alone in its view.
        one = view.scenes([row])
        for key in range(12):
            scenes = replace(one, key=np.array([key], dtype=np.uint64))
            (question,) = questions(scenes, kind)
            if question.kind == kind and covered(question) in guess:
                assert answers.names_noun(question) == (covered(question) != question.text)
                assert answers.noun_blind(scenes, kind) == pytest.approx([guess[covered(question)]], abs=0.06), question
                checked += 1
    assert checked >= 20


def test_the_noun_blind_ideal_on_the_questions_of_week_4() -> None:
    """Where: alone in one half of the scenes, one of two in the other. Measured once by hand in a review."""
    view = week04.questions("val", 0, 48)
    scenes = view.scenes(range(1024))
    asked = questions(scenes)
    found = answers.by_kind(asked, answers.noun_blind(scenes))
    assert found["answers: where"] == pytest.approx(0.746, abs=5e-4)
    assert found["answers: which colour"] == pytest.approx(0.903, abs=5e-4)
    assert {found[f"answers: {kind}"] for kind in ("what", "how many", "background")} == {1.0}
    objects = [n for n, q in zip(scenes.count.tolist(), asked, strict=True) if q.kind == "where"]
    assert found["answers: where"] == pytest.approx(np.mean(1 / np.array(objects)))


def test_by_kind_and_habit_on_questions_written_by_hand() -> None:
    asked = [Question("where is the fox?", CELLS[0], "where"), Question("where is the cat?", CELLS[1], "where")]
    asked.append(Question("which colour is the background?", "cream", "background"))
    assert answers.by_kind(asked, [1.0, 0.5, 0.0]) == {
        "answers": 0.5,
        "answers: where": 0.75,
        "answers: background": 0.0,
    }
    known = [asked[1], asked[1], asked[0]]
    # Of a kind that was never seen there is no habit.
    assert answers.most_frequent(known, asked) == [0.0, 1.0, 0.0]
    assert set(KINDS) >= {q.kind for q in asked}
    with pytest.raises(ValueError, match="2 numbers for 3 questions"):
        answers.by_kind(asked, [1.0, 0.0])
