"""What every week owes: arms, budgets, rates that reach the optimisers, claims that point the way, exercises."""

import inspect
import json
import math
from collections import defaultdict
from dataclasses import asdict, fields, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tinyvlm.experiments import pretrain, transfer, week01
from tinyvlm.experiments.exercises import Verdict
from tinyvlm.experiments.measure import FACTS, R1, SWAPS
from tinyvlm.experiments.presets import PRESETS
from tinyvlm.experiments.week04 import SECONDS
from tinyvlm.training import History

NAMES = sorted(path.stem for path in Path(inspect.getfile(week01)).parent.glob("week[0-9][0-9].py"))
WEEKS = [import_module(f"tinyvlm.experiments.{name}") for name in NAMES]
TRAINING = [week for week in WEEKS if any(field.name == "size" for field in fields(week.Budget))]
each_week = pytest.mark.parametrize("week", WEEKS, ids=NAMES)
each_training = pytest.mark.parametrize("week", TRAINING, ids=lambda week: week.__name__[-6:])


def headline(week: ModuleType) -> str:
    return next(claim for claim in week.CLAIMS if claim.kind == "headline").arms[0]


@each_week
def test_claims_use_every_arm_and_no_other(week: ModuleType) -> None:
    assert {arm for claim in week.CLAIMS for arm in claim.arms} == set(week.ARMS)
    assert [claim.kind for claim in week.CLAIMS].count("headline") == 1
    assert len({claim.id for claim in week.CLAIMS}) == len(week.CLAIMS)
    assert all(len(set(claim.arms)) == len(claim.arms) <= 3 for claim in week.CLAIMS)


@each_week
def test_arms_are_frozen_data_that_tell_them_apart(week: ModuleType) -> None:
    settings = [
        json.dumps(asdict(arm) | asdict(week.BUDGETS[p])) for p in ("smoke", "cpu") for arm in week.ARMS.values()
    ]
    assert len(set(settings)) == len(settings)  # no field of a budget hides one of an arm
    for made in (*week.ARMS.values(), *week.BUDGETS.values()):
        with pytest.raises(AttributeError, match="cannot assign to field"):
            setattr(made, fields(made)[0].name, None)


@each_week
def test_budgets_are_the_presets_and_unknown_ones_are_refused(
    week: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TINYVLM_SIZE", raising=False)
    assert tuple(week.BUDGETS) == PRESETS
    assert all(week.budget(preset) == week.BUDGETS[preset] for preset in PRESETS)
    with pytest.raises(ValueError, match="Preset is 'tpu': choose one of smoke, cpu, gpu"):
        week.budget("tpu")
    with pytest.raises(ValueError, match="'huge'"):
        week.budget("cpu", "huge")


@each_training
def test_a_size_is_asked_for_by_name_or_environment(week: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = replace(week.BUDGETS["cpu"], size="small")
    assert week.budget("cpu", "small") == expected != week.BUDGETS["cpu"]
    monkeypatch.setenv("TINYVLM_SIZE", "small")
    assert week.budget("cpu") == expected
    monkeypatch.setenv("TINYVLM_SIZE", "huge")
    with pytest.raises(ValueError, match="unknown size 'huge'; choose from micro, small"):
        week.budget("cpu")


@each_training
def test_the_rates_of_the_budget_are_those_that_train(week: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rate of the budget reaches an optimiser, and no optimiser has a rate of its own."""
    names = [field.name for field in fields(week.Budget) if field.name == "lr" or field.name.endswith("_lr")]
    assert "lr" in names
    chosen = {name: 0.25 + place for place, name in enumerate(names)}
    seen = set()

    def fit(task: object, stages: object, **options: object) -> History:
        for stage in stages if isinstance(stages, list) else [stages]:
            seen.update(optimiser.lr for optimiser in stage.optimisers)
        return History(seconds=1.0)

    monkeypatch.setattr(week, "fit", fit)
    for module in (pretrain, transfer):
        monkeypatch.setattr(module, "fit", fit)
    monkeypatch.setitem(week.BUDGETS, "smoke", replace(week.BUDGETS["smoke"], **chosen))
    week.run_arm(headline(week), 0, "smoke")
    assert seen == set(chosen.values())


@pytest.mark.slow
@each_week
def test_a_smoke_run_is_deterministic_and_measures_what_claims_ask_for(week: ModuleType) -> None:
    arm, heard = headline(week), []
    runs = [week.run_arm(arm, 0, "smoke", progress=lambda *step: heard.append(step)) for _ in range(2)]
    one, other = ({name: value for name, value in run.items() if "seconds" not in name} for run in runs)
    assert one == other and all(math.isfinite(value) for value in runs[0].values())
    assert heard and heard[-1][0] == heard[-1][1]
    for claim in week.CLAIMS:
        assert math.isfinite(claim.difference(dict.fromkeys(claim.arms, runs[0])))


def both(names: tuple[str, ...], value: float) -> dict[str, float]:
    return dict.fromkeys(names, value)


FREE, COPIED = "right facts, another phrasing", "copied phrases, wrong nouns"
SWAPPED = "CLIP + swapped captions, few objects"
TOKENS = "CLIP, class and end token"
HELPED = "without MLM + swapped captions"
# Claim, what lies elsewhere than at 0.5, the difference; the two directions of each claim, and what must not count.
CASES: dict[str, list[tuple[str, dict[str, dict[str, float]], float]]] = {
    "week01": [
        ("facts-over-phrases", {FREE: {"CIDEr-D": 1.5}}, 1.0),
        ("facts-over-phrases", {COPIED: {"CIDEr-D": 1.5}}, -1.0),
        ("facts-over-phrases", {COPIED: {"BLEU-4": 0.9, "ROUGE-L": 0.9}}, 0.0),
    ],
    "week02": [
        ("data", {"little data": {"gap": 0.7}}, 0.2),
        ("data", {"much data": {"gap": 0.7}}, -0.2),
        ("data", {"more data": {"gap": 0.9}}, 0.0),
        ("positions", {"much data, no positions": {"ViT": 0.4}}, 0.1),
        ("positions", {"much data, no positions": {"ViT": 0.6}}, -0.1),
        ("shuffling", {"much data": {"ViT, patches shuffled": 0.2}}, 0.3),
        # A model without positions that moves under shuffling, either way, speaks against the claim.
        ("shuffling", {"much data, no positions": {"ViT, patches shuffled": 0.4}}, -0.1),
        ("shuffling", {"much data, no positions": {"ViT, patches shuffled": 0.6}}, -0.1),
        ("pooling", {"much data": {"ViT": 0.7}}, 0.2),
        ("pooling", {"much data, mean pooling": {"ViT": 0.7}}, -0.2),
    ],
    "week03": [
        ("binding", {"CLIP": {"objects swapped": 0.1, "colours swapped": 0.2}}, 0.3),
        ("binding", {"CLIP": {"objects swapped": 0.1}}, 0.0),
        *[("binding", {"CLIP": both(SWAPS, 0.1) | {known: 0.2}}, 0.1) for known in (*R1, *FACTS)],
        ("tokens", {TOKENS: both(SWAPS, 0.1)}, 0.4),
        ("tokens", {TOKENS: {"colours swapped": 0.1}}, 0.0),
        *[("tokens", {TOKENS: both(SWAPS, 0.1) | {fact: 0.2}}, 0.1) for fact in FACTS],
        ("tokens", {TOKENS: both(SWAPS, 0.1) | both(R1, 0.2)}, 0.4),
        ("swaps", {SWAPPED: both(SWAPS, 0.9)}, 0.4),
        ("swaps", {SWAPPED: {"objects swapped": 0.9}}, 0.0),
        ("temperature", {"learned temperature": both(R1, 0.9)}, 0.4),
        ("temperature", {"learned temperature": {R1[0]: 0.9}}, 0.0),
        ("batch-samples", {"batch 64, equal samples": both(R1, 0.6)}, 0.1),
        ("batch-samples", {"batch 512, equal samples": both(R1, 0.6)}, -0.1),
        ("batch-samples", {"batch 256, equal samples": both(R1, 0.6)}, 0.0),
        ("batch-steps", {"batch 512, equal steps": both(R1, 0.6)}, 0.1),
        ("batch-steps", {"batch 64, equal steps": both(R1, 0.6)}, -0.1),
    ],
    "week04": [
        ("objectives", {"ITM only": {"answers": 0.2}, "MLM only": {R1[0]: 0.2, R1[1]: 0.4}}, 0.2),
        ("objectives", {"ITM only": {"answers": 0.4}, "MLM only": both(R1, 0.2)}, 0.1),
        ("objectives", {"ITM only": {"answers": 0.2}}, 0.0),
        ("objectives", {"MLM only": both(R1, 0.2)}, 0.0),
        ("binding", {"MLM + ITM": {"objects swapped": 0.9}}, 0.9),
        ("binding", {"MLM + ITM": {"colours swapped": 0.9}}, 0.5),
        ("sampling-time", {"MLM + ITM, all cells": {SECONDS: 1.0}}, 2.0),
        ("sampling-time", {"MLM + ITM": {SECONDS: 1.0}}, 0.5),
        ("sampling-accuracy", {"MLM + ITM, all cells": {"answers": 0.52}}, -0.02),
        ("sampling-accuracy", {"MLM + ITM, all cells": {"answers": 0.6}}, -0.1),
    ],
    "week05": [
        ("binding", {"ALBEF": {"objects swapped": 0.9}}, 0.4),
        ("binding", {"ALBEF": {"colours swapped": 0.9}}, 0.0),
        ("binding", {"without ITC": {"objects swapped": 0.1}}, 0.0),
        ("contrast-and-binding", {"without ITC": {"objects swapped": 0.9}}, 0.4),
        ("contrast-and-binding", {"ALBEF": {"objects swapped": 0.9}}, -0.4),
        ("swaps", {HELPED: both(SWAPS, 0.9)}, 0.4),
        ("swaps", {HELPED: {"objects swapped": 0.9}}, 0.0),
        ("hard-negatives", {"ALBEF": {"hard R@1": 0.6}}, 0.1),
        ("hard-negatives", {"random negatives": {"hard R@1": 0.6}}, -0.1),
        ("distillation", {"wrong captions, alpha 0.4": {R1[0]: 0.9}}, 0.2),
        ("distillation", {"wrong captions, alpha 0": {R1[1]: 0.9}}, -0.2),
    ],
}


def cases(name: str) -> list[tuple[str, dict[str, dict[str, float]], float]]:
    """Those above; later weeks keep CASES in tests of their own, so that a new week changes no file of all weeks."""
    if name in CASES:
        return CASES[name]
    own: list[tuple[str, dict[str, dict[str, float]], float]] = import_module(f"tests.experiments.test_{name}").CASES
    return own


@each_week
def test_claims_point_the_way_their_statements_say(week: ModuleType) -> None:
    claims, met = {claim.id: claim for claim in week.CLAIMS}, defaultdict(set)
    for name, elsewhere, expected in cases(week.__name__[-6:]):
        claim = claims[name]
        assert set(elsewhere) <= set(claim.arms), f"{name} does not compare {set(elsewhere)}"
        rows = {arm: defaultdict(lambda: 0.5, elsewhere.get(arm, {})) for arm in claim.arms}
        assert claim.difference(rows) == pytest.approx(expected), f"{name}: {elsewhere}"
        met[name].add(claim.difference(rows) > claim.margin)
    assert met == {name: {True, False} for name in claims}  # numbers that meet each claim, and numbers that do not


CHECKS = [
    pytest.param(check, id=f"{name}-{check.__name__}")
    for name in NAMES
    for check in vars(import_module(f"tinyvlm.experiments.{name}_checks")).values()
    if inspect.isfunction(check) and check.__module__.endswith("_checks") and not check.__name__.startswith("_")
]


def unwritten(*_: object) -> None:
    raise NotImplementedError


def crash(*_: object) -> None:
    raise RuntimeError("boom")


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (unwritten, "nothing is written here yet"),
        (lambda *_: None, "it returns nothing yet"),
        (crash, "it stops with RuntimeError: boom"),
        (lambda *_: "dog", ""),
        (lambda *_: torch.zeros(()), ""),
    ],
    ids=["unwritten", "None", "crash", "word", "number"],
)
def test_checks_refuse_stubs_and_crashes_without_raising(check, answer, words: str) -> None:
    verdict = check(answer)
    assert isinstance(verdict, Verdict) and not verdict.passed and words in verdict.message and verdict.message


def test_every_week_has_exercises() -> None:
    assert {param.id.split("-")[0] for param in CHECKS} == set(NAMES)
