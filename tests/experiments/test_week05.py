"""Week 5: arms, budgets and measurements are what the chapter and the claims' queue rely on."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from tinyvlm.data import load_emoji, load_tokenizer
from tinyvlm.experiments import week03, week05, week05_checks
from tinyvlm.experiments.exercises import Verdict
from tinyvlm.models import ALBEF

SMOKE = week05.BUDGETS["smoke"]


def test_every_arm_of_a_claim_exists_and_every_arm_is_used() -> None:
    named = {arm for claim in week05.CLAIMS for arm in claim.arms}
    assert named == set(week05.ARMS)
    assert [claim.kind for claim in week05.CLAIMS].count("headline") == 1
    assert all(len(claim.arms) <= 3 for claim in week05.CLAIMS)


def test_claims_are_met_by_the_better_arm_and_not_by_equal_ones() -> None:
    keys = ("image to text R@1", "text to image R@1", "hard R@1", *week05.SWAPS, *week05.FACTS)
    good, poor = dict.fromkeys(keys, 0.9), dict.fromkeys(keys, 0.5)
    for claim in week05.CLAIMS:
        better, *worse = claim.arms
        assert week05.ARMS.keys() >= set(claim.arms)
        assert claim.difference({better: good, **dict.fromkeys(worse, poor)}) == pytest.approx(0.4)
        assert claim.difference(dict.fromkeys(claim.arms, good)) == 0
    binding, align = week05.CLAIMS[:2]
    assert [claim.kind for claim in week05.CLAIMS].count("headline") == 1 and binding.kind == "headline"
    # The arm without ITC is only shown beside the other two, and only swapped objects count.
    assert binding.difference(dict(zip(binding.arms, (good, good, poor), strict=True))) == 0
    half = {**poor, week05.SWAPS[0]: 0.9}
    assert binding.difference(dict(zip(binding.arms, (half, poor, good), strict=True))) == pytest.approx(0.4)
    # The fact known worst counts.
    half = {**good, week05.FACTS[2]: 0.5}
    assert align.difference(dict(zip(align.arms, (half, poor), strict=True))) == 0


def test_settings_tell_arms_and_presets_apart() -> None:
    settings = [str(week05.settings(arm, preset)) for arm in week05.ARMS for preset in ("cpu", "gpu")]
    assert len(set(settings)) == len(settings)


def test_the_world_of_few_objects_is_week_3s() -> None:
    """So that its stored row of single changes may stand beside this week's."""
    assert week05.SCENES == week03.FEW
    ours, theirs = week05.world("val", 0, 48), week03.world("val", 0, week03.FEW, 48)
    assert ours.captions(range(8)) == theirs.captions(range(8))


def test_unknown_arm_and_size_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"week 5 has no arm 'BLIP'; choose from ALBEF"):
        week05.run_arm("BLIP", 0, "smoke")
    monkeypatch.setenv("TINYVLM_SIZE", "huge")
    with pytest.raises(ValueError, match="unknown size 'huge'; choose from micro, small"):
        week05.budget("cpu")


def test_three_captions_in_ten_are_wrong_and_pictures_stay() -> None:
    right, wrong = (week05.world("train", 0, 48, wrong=flag).batch(range(200)) for flag in (False, True))
    assert torch.equal(right["image"], wrong["image"])
    assert 0.2 < (right["text"] != wrong["text"]).any(1).double().mean() < 0.4


@pytest.mark.parametrize("name", week05.ARMS)
def test_what_an_arm_trains_is_what_its_losses_reach(name: str) -> None:
    """No parameter waits for a gradient that never comes, none that gets one is left out."""
    arm, seen = week05.ARMS[name], []
    real = week05.recipe

    def spy(*args: object, **kwargs: object) -> list:
        seen.extend(real(*args, **kwargs))  # type: ignore[arg-type]
        return seen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(week05, "recipe", spy)
        model, history = week05.train(arm, 0, replace(SMOKE, tower=1, steps=1, noisy_steps=1, batch=8))
    task = week05.new_task(model, arm, SMOKE)
    batch = task.prepare(seen[0].source(0), torch.Generator().manual_seed(0))
    assert ("negatives" in batch) == bool(arm.negatives)
    terms = task(batch)
    assert set(terms) == {"ITM"} | ({"ITC"} if arm.itc else set()) | ({"MLM"} if arm.mlm else set())
    assert set(history.losses) == set(terms)
    model.zero_grad()
    sum(term.mean for term in terms.values()).backward()  # type: ignore[union-attr]
    chosen = seen[0].trainable
    for parameter, value in task.named_parameters():
        trained = chosen is None or re.search(chosen, parameter) is not None
        assert trained == (value.grad is not None), parameter


def test_a_run_can_be_repeated_call_by_call_as_the_chapter_does() -> None:
    budget = replace(SMOKE, tower=2, steps=2)
    expected, history = week05.train(week05.ARMS["ALBEF"], 3, budget)
    torch.manual_seed(3)
    model = ALBEF.named(budget.size)
    size = model.config.vision.image_size
    week05.name_sprites(model.vision, model.config.vision.width, week05.SCENES, seed=3, size=size, steps=2)
    stages = week05.recipe(week05.world("train", 3, size), 2, budget.batch)
    task = week05.new_task(model, week05.ARMS["ALBEF"], budget)
    assert week05.fit(task, stages, seed=3, progress=None).loss == history.loss
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), expected.parameters(), strict=True))


def test_everything_is_measured_by_both_scores() -> None:
    found = week05.evaluate(ALBEF.named("micro"), replace(SMOKE, gallery=8, changes=16))
    changes = (*week03.SEEN_CHANGES, *week05.SWAPS, "hard R@1", "hard R@1, chance")
    retrieval = [f"{way} R@{k}" for way in ("image to text", "text to image") for k in (1, 5)]
    assert set(found) == {"hidden nouns", *retrieval, *changes, *(f"towers: {change}" for change in changes)}
    assert all(0 <= value <= 1 for value in found.values())
    assert found["hard R@1, chance"] == found["towers: hard R@1, chance"]


@torch.no_grad()
def test_scores_are_what_the_model_says() -> None:
    model, batch = ALBEF.named("micro").eval(), week05.world("val", 0, 48).batch(range(4))
    inputs = batch["image"], batch["text"], batch["text_mask"]
    out = model(week05.normalise(inputs[0]), *inputs[1:])
    torch.testing.assert_close(week05.matching_score(model)(*inputs), out.matching[:, 1] - out.matching[:, 0])
    torch.testing.assert_close(week05.similarity(model)(batch), out.image @ out.text.T)
    torch.testing.assert_close(week05.tower_score(model)(*inputs), week05.similarity(model)(batch).diagonal())


def test_hidden_nouns_are_hidden_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A word head that says one and the same word is right as often as that word is a noun of the captions."""
    model, scenes = ALBEF.named("micro").eval(), week05.world("val", 0, 48).scenes(np.arange(64))
    nouns, seen = scenes.noun[scenes.noun >= 0], []
    word = load_tokenizer().id(load_emoji().names("en")[nouns[0]])

    def one_word(fused: torch.Tensor, words: object) -> torch.Tensor:
        logits = torch.zeros(len(fused), 4096)
        logits[:, word] = 1.0
        seen.append(len(fused))
        return logits

    monkeypatch.setattr(model.word, "forward", one_word)
    assert week05.noun_accuracy(model, 64) == pytest.approx((nouns == nouns[0]).mean())
    assert seen == [len(nouns)]


@pytest.mark.slow
def test_the_canary_is_deterministic() -> None:
    losses = week05.canary()
    assert len(losses) == 20 and tuple(losses) == week05._canary.__wrapped__()


CHECKS = {
    "soft_target_gradient": lambda logits, targets: (logits.softmax(1) - targets) / len(logits),
    "enqueue": lambda features, place, rows: (torch.cat([rows, features])[: len(features)], 0),
    "draw_negative": lambda similarity, forbidden, u: int(
        (similarity.softmax(0).masked_fill(forbidden, 0.0).cumsum(0) <= u).sum().clamp_max(len(similarity) - 1)
    ),
}


@pytest.mark.parametrize("name", CHECKS)
def test_checks_refuse_stubs_wrong_answers_and_crashes_without_raising(name: str) -> None:
    check = getattr(week05_checks, name)

    def crash(*_: object) -> None:
        raise RuntimeError("boom")

    for answer in (lambda *_: None, lambda *_: "dog", CHECKS[name], crash):
        verdict = check(answer)
        assert isinstance(verdict, Verdict) and not verdict.passed and verdict.message


def test_checks_accept_other_right_answers() -> None:
    def derived(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = logits.clone().requires_grad_(True)
        return torch.autograd.grad(-(targets * logits.log_softmax(1)).sum(), logits)[0]

    def loop(features: torch.Tensor, place: int, rows: torch.Tensor) -> tuple[torch.Tensor, int]:
        for row in rows:
            features[place] = row
            place = (place + 1) % len(features)
        return features, place

    def renormalised(similarity: torch.Tensor, forbidden: torch.Tensor, u: float) -> int:
        places = (~forbidden).nonzero().flatten().tolist()
        chances = similarity[places].double().softmax(0).tolist()
        total = 0.0
        for place, chance in zip(places, chances, strict=True):
            total += chance
            if u < total:
                return place
        return places[-1]

    assert week05_checks.soft_target_gradient(derived).passed
    assert week05_checks.enqueue(loop).passed
    assert week05_checks.draw_negative(renormalised).passed
