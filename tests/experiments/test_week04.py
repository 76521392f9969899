"""Week 4: arms, budgets and measurements are what the chapter and the claims' queue rely on."""

import re
from dataclasses import replace

import pytest
import torch

from tinyvlm.data.questions import KINDS, answer_vocabulary
from tinyvlm.encoders import normalise
from tinyvlm.experiments import week03, week04, week04_checks
from tinyvlm.experiments.exercises import Verdict
from tinyvlm.experiments.words import content_rates
from tinyvlm.models import PixelBERT, PixelBERTTask
from tinyvlm.objectives import uniform_rates

SMOKE = week04.BUDGETS["smoke"]


@pytest.fixture(scope="module")
def model() -> PixelBERT:
    torch.manual_seed(0)
    return week04.new_model("micro").eval()


def test_every_arm_of_a_claim_exists_and_every_arm_is_used() -> None:
    named = {arm for claim in week04.CLAIMS for arm in claim.arms}
    assert named == set(week04.ARMS)
    assert [claim.kind for claim in week04.CLAIMS].count("headline") == 1
    assert len({claim.id for claim in week04.CLAIMS}) == len(week04.CLAIMS)
    assert all(len(claim.arms) <= 3 for claim in week04.CLAIMS)


def test_the_world_is_week_3s_with_few_objects() -> None:
    """The table of single changes puts both weeks side by side."""
    assert week04.SCENES == week03.FEW


def test_settings_tell_arms_and_presets_apart() -> None:
    settings = [str(week04.settings(arm, preset)) for arm in week04.ARMS for preset in week04.BUDGETS]
    assert len(set(settings)) == len(settings)


def test_unknown_arm_and_size_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="week 4 has no arm 'ViLT'; choose from MLM \\+ ITM"):
        week04.run_arm("ViLT", 0, "smoke")
    monkeypatch.setenv("TINYVLM_SIZE", "huge")
    with pytest.raises(ValueError, match="unknown size 'huge'; choose from micro, small"):
        week04.budget("cpu")


@pytest.mark.parametrize("preset", week04.BUDGETS)
def test_texts_fit_and_cells_are_a_true_sample(preset: str) -> None:
    budget = week04.budget(preset)
    config = PixelBERT.Config.named(budget.size)
    side = config.trunk.image_size // 8
    assert max(week04.CAPTION, week04.QUESTION) <= config.bert.context
    assert 0 < budget.cells < side * side
    # Longest texts of two objects; encoding refuses one that does not fit.
    week04.world("train", 0, 48).batch(range(256))
    week04.questions("train", 0, 48).batch(range(256))


def test_two_optimisers_share_the_network_between_them(model: PixelBERT) -> None:
    (stage,) = week04.recipe(week04.world("train", 0, 48), 5, 4)
    names = [name for name, _ in PixelBERTTask(model, content_rates()).named_parameters()]
    trained = [name for name in names if re.search(stage.trainable or "", name)]
    assert {name for name in names if name not in trained} == {name for name in names if "answer" in name}
    trunk, rest = stage.optimisers
    first = [name for name in trained if re.search(trunk.parameters, name)]
    assert first and set(first) == {name for name in names if name.startswith("model.trunk.")}
    assert rest.parameters == ""


@pytest.mark.parametrize("arm", week04.ARMS)
def test_an_arm_leaves_out_what_it_says_and_leaves_idle_heads_alone(arm: str, model: PixelBERT) -> None:
    chosen = week04.ARMS[arm]
    trained, history = week04.pretrain(chosen, 0, replace(SMOKE, steps=2, trunk=1, batch=4))
    assert set(history.losses) == {name for name, on in (("MLM", chosen.mlm), ("ITM", chosen.itm)) if on}
    torch.manual_seed(0)
    before = week04.new_model("micro")
    moved = {n for (n, a), b in zip(before.named_parameters(), trained.parameters(), strict=True) if not a.equal(b)}
    assert ("word.dense.weight" in moved) == chosen.mlm
    assert ("match.weight" in moved) == ("pooler.dense.weight" in moved) == chosen.itm
    assert not any(name.startswith("answer") for name in moved)
    assert any(name.startswith("trunk") for name in moved) and "visual" in moved


def test_finetuning_leaves_the_model_and_its_trunk_alone(model: PixelBERT) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    budget = replace(SMOKE, batch=4, answers=1, retrieval=1)
    for what, head in (("answers", "answer.0.weight"), ("retrieval", "match.weight")):
        tuned = week04.finetune(model, what, 0, budget)
        assert all(value.equal(before[name]) for name, value in model.state_dict().items()), what
        moved = {name for name, value in tuned.named_parameters() if not value.equal(before[name])}
        assert head in moved and not any(name.startswith(("trunk", "word")) for name in moved)
        assert not tuned.training


def test_scores_are_those_of_the_forward_pass(model: PixelBERT) -> None:
    batch = week04.world("val", 0, 48).batch(range(5))
    with torch.no_grad():
        matrix = week04.similarity(model)(batch)
        own = week04.pair_score(model)(batch["image"], batch["text"], batch["text_mask"])
        texts = list(zip(batch["text"][:, None], batch["text_mask"][:, None], strict=True))
        pictures = normalise(batch["image"])[:, None]
        slow = torch.stack([torch.cat([model(image, *text).score for text in texts]) for image in pictures])
    torch.testing.assert_close(matrix, slow, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(own, slow.diagonal(), atol=1e-4, rtol=1e-4)


def test_hidden_nouns_are_all_hidden_and_only_they(model: PixelBERT, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    inner = model.fuse

    def spy(cells: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor):
        seen["ids"] = ids
        return inner(cells, ids, mask)

    monkeypatch.setattr(model, "fuse", spy)
    assert 0 <= week04.noun_accuracy(model, 24) < 0.5
    batch, rates = week04.world("val", 0, 48).batch(range(24)), content_rates()
    noun = rates[batch["text"]] == rates.max()
    objects = (week04.world("val", 0, 48).scenes(range(24)).noun >= 0).sum()
    assert noun.sum() == objects
    assert (seen["ids"][noun] == model.config.mask_id).all() and torch.equal(seen["ids"][~noun], batch["text"][~noun])


@pytest.mark.parametrize("blind", [False, True])
def test_answers_of_an_oracle_and_of_a_constant(model: PixelBERT, monkeypatch: pytest.MonkeyPatch, blind: bool) -> None:
    batch = week04.questions("val", 0, 48).batch(range(48))
    inner, labels = model.fuse, batch["label"]

    def answering(labels: torch.Tensor):
        def fuse(cells: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor):
            assert (cells.shape[1] == 0) == blind
            out = inner(cells, ids, mask)
            out.answers = torch.nn.functional.one_hot(labels, len(answer_vocabulary())).float()
            return out

        return fuse

    monkeypatch.setattr(model, "fuse", answering(labels))
    perfect = week04.answer_accuracy(model, 48, blind=blind)
    assert set(perfect.values()) == {1.0} and {f"answers: {kind}" for kind in KINDS} >= set(perfect) - {"answers"}
    no = answer_vocabulary().index("no")
    monkeypatch.setattr(model, "fuse", answering(torch.full_like(labels, no)))
    constant = week04.answer_accuracy(model, 48, blind=blind)
    assert constant["answers"] == pytest.approx((labels == no).double().mean().item())
    assert constant["answers: where"] == 0.0 and 0 < constant["answers: yes or no"] < 1


@pytest.mark.slow
def test_one_job_from_end_to_end_and_the_canary_is_deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = replace(SMOKE, steps=2, trunk=2, batch=4, answers=1, retrieval=1, gallery=8, changes=16)
    monkeypatch.setitem(week04.BUDGETS, "smoke", budget)
    found = week04.run_arm("MLM + ITM", 0, "smoke")
    assert {"hidden nouns", "answers", "image to text R@1", "text to image R@1", "object", "hard R@1"} <= set(found)
    assert all(0 <= value <= 1 for name, value in found.items() if "seconds" not in name)
    for claim in week04.CLAIMS:  # every claim finds its numbers
        claim.difference(dict.fromkeys(claim.arms, found))
    assert week04._canary.__wrapped__() == tuple(week04.canary())


def always_mask(ids, rates, mask_id, draws):
    chosen = draws[0] < rates[ids]
    return torch.where(chosen, mask_id, ids), chosen


CHECKS = {
    "layer_cost": lambda tokens, width, hidden: 12 * tokens * width**2,  # no scores, and the hidden layer taken as 4w
    "hide": always_mask,
    "guided_cells": lambda cells, attention, keep: cells[:, :keep],
}


@pytest.mark.parametrize("name", CHECKS)
def test_checks_refuse_stubs_wrong_answers_and_crashes_without_raising(name: str) -> None:
    check = getattr(week04_checks, name)

    def crash(*_: object) -> None:
        raise RuntimeError("boom")

    for answer in (lambda *_: None, CHECKS[name], crash):
        verdict = check(answer)
        assert isinstance(verdict, Verdict) and not verdict.passed and verdict.message


def test_the_check_of_hiding_tells_the_mistakes_apart() -> None:
    def variant(share: float = 0.8, spared: bool = True, copy: bool = True):
        def hide(ids, rates, mask_id, draws):
            words = rates.nonzero().flatten() if spared else torch.arange(len(rates))
            chosen = draws[0] < rates[ids]
            other = words[(draws[2] * len(words)).long()]
            new = torch.where(draws[1] < share, mask_id, torch.where(draws[1] < 0.9, other, ids))
            corrupted = torch.where(chosen, new, ids)
            return (corrupted if copy else ids.copy_(corrupted)), chosen

        return hide

    assert week04_checks.hide(variant()).passed
    assert "below 0.8" in week04_checks.hide(variant(share=0.7)).message
    assert "N with a rate above 0" in week04_checks.hide(variant(spared=False)).message
    assert "work on a copy" in week04_checks.hide(variant(copy=False)).message
    table = uniform_rates(60, 10)
    always = week04_checks.hide(lambda ids, rates, mask_id, draws: variant()(ids, table, mask_id, draws))
    assert "places are chosen instead of" in always.message


def test_guided_cells_may_come_in_any_order() -> None:
    def by_attention(cells, attention, keep):
        return cells.gather(1, attention.argsort(1, descending=True)[:, :keep, None].expand(-1, -1, cells.shape[2]))

    assert week04_checks.guided_cells(by_attention).passed
    shared = week04_checks.guided_cells(lambda c, a, k: c[:, a.mean(0).argsort(descending=True)[:k]])
    assert not shared.passed and "of each picture" in shared.message
