"""Canaries: what counts as the same numbers, and that a week's own can be run and repeated."""

import copy
import json
from pathlib import Path

import pytest
import toy_week

from tinyvlm.experiments.canary import canary, compare_metrics, differences, run_canary, settings, week_module
from tinyvlm.training.history import History, tell, watch

CANARY = {"arm": "ALBEF", "losses": [[2.0, 1.5], [600.0]], "metrics": {"object": 0.5, "swapped": 9 / 17, "CIDEr": 1.9}}


def changed(path, value):
    found = copy.deepcopy(CANARY)
    place = found
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return differences(CANARY, found)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("losses", 0, 1), 1.5001),
        (("losses", 1, 0), 600.05),
        (("metrics", "object"), 0.5 + 1 / 32),
        (("metrics", "swapped"), 10 / 17),
        (("metrics", "CIDEr"), 1.90005),
    ],
)
def test_rounding_and_one_example_are_the_same(path, value):
    assert changed(path, value) == []


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("losses", 0, 1), 1.502, "loss 2 of training 1 was 1.5 and is 1.502"),
        (("losses", 1, 0), 601, "loss 1 of training 2 was 600 and is 601"),
        (("losses", 1), [600.0, 1.0], "updates of the trainings were 2, 1 and are 2, 2"),
        (("metrics", "object"), 0.5 + 3 / 32, "'object' was 0.5 and is 0.59375"),
        (("metrics", "swapped"), 8 / 17 - 1 / 17, "'swapped' was 0.529412 and is 0.411765"),
        (("metrics", "CIDEr"), 1.95, "'CIDEr' was 1.9 and is 1.95"),
        (("arm",), "CLIP", "the headline arm was 'ALBEF' and is 'CLIP'"),
    ],
)
def test_a_difference_is_named_with_both_values(path, value, words):
    assert changed(path, value) == [words]


def test_what_is_measured_belongs_to_it():
    assert compare_metrics({"a": 1.0}, {"b": 1.0}, False) == [
        "'a' is measured no longer",
        "'b' is measured only now",
    ] or compare_metrics({"a": 1.0}, {"b": 1.0}, False) == ["'b' is measured only now", "'a' is measured no longer"]


def test_without_training_nothing_may_turn():
    """Where no loss was compared, a share has no reason to move by an example."""
    assert compare_metrics({"BLEU": 0.5}, {"BLEU": 0.53}, one_example=False) == ["'BLEU' was 0.5 and is 0.53"]


def test_every_training_inside_is_heard_and_none_outside():
    tell(History())
    with watch() as outer, watch() as inner:
        tell(History())
    tell(History())
    assert len(outer) == len(inner) == 1


def test_a_toys_canary_leaves_seconds_out():
    assert canary(toy_week) == {"arm": "method", "losses": [], "metrics": {"score": 0.9}}
    assert settings(toy_week, "broken", "gpu") == {"kind": "nobody's", "steps": 9}


def test_a_process_of_its_own_gives_the_same_and_a_broken_one_is_named(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(toy_week.__file__).parent))
    found, known = run_canary(toy_week)
    assert found == canary(toy_week) and known["cpu"]["method"] == settings(toy_week, "method", "cpu")
    monkeypatch.setenv("TOY_FAIL", "method 0")
    with pytest.raises(RuntimeError, match=r"canary of toy_week failed \(ArithmeticError: the towers fell\)"):
        run_canary(toy_week)


RECEIPTS = sorted((Path(__file__).parents[2] / "notebooks" / "receipts").glob("week*.json"))


@pytest.mark.slow
@pytest.mark.parametrize("path", RECEIPTS, ids=lambda path: path.stem)
def test_this_code_gives_the_smoke_numbers_of_every_receipt(path):
    """What `course verify` compares, here on this machine: the receipts in the tree hold for the code in the tree."""
    receipt = json.loads(path.read_text(encoding="utf-8"))
    found, settings = run_canary(receipt["week"])
    assert differences(receipt["canary"], found) == [] and settings[receipt["preset"]] == receipt["settings"]
    assert found["arm"] == week_module(receipt["week"]).CLAIMS[0].arms[0] and (found["losses"] or receipt["week"] == 1)
