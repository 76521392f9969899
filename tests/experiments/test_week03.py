"""Week 3: arms, budgets and measurements are what the chapter and the claims' queue rely on."""

from dataclasses import replace

import pytest
import torch

from tinyvlm.data import World
from tinyvlm.experiments import week03, week03_checks
from tinyvlm.experiments.exercises import Verdict
from tinyvlm.experiments.measure import retrieval, single_changes
from tinyvlm.models import CLIP
from tinyvlm.models.task import Term


def test_every_arm_of_a_claim_exists_and_every_arm_is_used() -> None:
    named = {arm for claim in week03.CLAIMS for arm in claim.arms}
    assert named == set(week03.ARMS)
    assert [claim.kind for claim in week03.CLAIMS].count("headline") == 1


def test_comparison_arms_spend_what_their_names_say() -> None:
    budget = week03.BUDGETS["cpu"]
    samples = {arm: steps * batch for arm in week03.ARMS for steps, batch in [week03.updates(week03.ARMS[arm], budget)]}
    equal = [samples[arm] for arm in week03.ARMS if week03.ARMS[arm].equal == "samples"]
    assert max(equal) - min(equal) < 512  # whole batches only
    steps = {week03.updates(week03.ARMS[arm], budget)[0] for arm in week03.ARMS if week03.ARMS[arm].equal == "steps"}
    assert len(steps) == 1


def test_settings_tell_arms_and_presets_apart() -> None:
    settings = [str(week03.settings(arm, preset)) for arm in week03.ARMS for preset in ("cpu", "gpu")]
    assert len(set(settings)) == len(settings)


def test_unknown_arm_and_size_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="week 3 has no arm 'GLIP'; choose from CLIP"):
        week03.run_arm("GLIP", 0, "smoke")
    monkeypatch.setenv("TINYVLM_SIZE", "huge")
    with pytest.raises(ValueError, match="unknown size 'huge'; choose from micro, small"):
        week03.budget("cpu")


def test_a_perfect_scorer_and_a_constant_one() -> None:
    world = World("val", spec=week03.SCENES)
    assert retrieval(lambda batch: torch.eye(len(batch["text"])), world, 16) == dict.fromkeys(
        ("image to text R@1", "image to text R@5", "text to image R@1", "text to image R@5"), 1.0
    )
    assert retrieval(lambda batch: torch.zeros(len(batch["text"]), len(batch["text"])), world, 16)[
        "image to text R@1"
    ] == pytest.approx(0.0)
    table = single_changes(lambda image, text, mask: torch.zeros(len(text)), world, 64)
    assert {contrast.value for contrast in table.values()} == {0.5}
    # Scenes without relations admit every change but that one; a swap needs two objects.
    assert set(table) == {*week03.SEEN_CHANGES, *week03.BINDING_CHANGES}
    assert table["object"].n == 64 > table["objects swapped"].n > 16


def test_single_changes_score_the_changed_caption() -> None:
    """A scorer that counts tokens shared with the true caption prefers it under every change but the swaps."""
    world = World("val", spec=week03.SCENES)
    true = {
        row.tobytes(): text
        for row, text in zip(world.batch(range(64))["image"].numpy(), world.batch(range(64))["text"], strict=True)
    }

    def bag(image: torch.Tensor, text: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        own = [set(true[row.tobytes()].tolist()) for row in image.numpy()]
        return torch.tensor([-float(len(one ^ set(row.tolist()))) for one, row in zip(own, text, strict=True)])

    table = single_changes(bag, world, 64, chunk=16)
    assert table["object"].value == table["background"].value == 1.0
    assert table["objects swapped"].value == table["colours swapped"].value == 0.5


def test_swapped_captions_reach_the_loss() -> None:
    """Extra negatives add candidates, so that an untrained model's loss rises."""
    torch.manual_seed(0)
    task = week03.CLIPTask(CLIP.named("micro"))
    world = World("train", spec=week03.SCENES)
    losses: dict[bool, Term] = {}
    for given in (False, True):
        batch = world.batch(range(8), negatives=week03.BINDING_CHANGES if given else ())
        losses[given] = task(task.prepare(batch, torch.Generator()))["contrastive"]
    assert losses[True].mean > losses[False].mean + 0.01
    assert losses[True].count == losses[False].count == 8


@pytest.mark.slow
def test_a_short_run_learns_and_the_canary_is_deterministic() -> None:
    budget = replace(week03.BUDGETS["smoke"], steps=60, gallery=64)
    model = week03.train(week03.ARMS["CLIP"], 0, budget)
    found = week03.evaluate(model, budget)
    assert found["image to text R@1"] > 5 / 64 and found["background"] > 0.8, found
    assert week03._canary.__wrapped__() == tuple(week03.canary())


CHECKS = {
    "temperature_gradient": lambda cosines, t: 0.0,
    "lowest_loss": lambda n, tau: 0.0,
    "shuffle_words": lambda caption, generator: caption,
}


@pytest.mark.parametrize("name", CHECKS)
def test_checks_refuse_stubs_wrong_answers_and_crashes_without_raising(name: str) -> None:
    check = getattr(week03_checks, name)

    def crash(*_: object) -> None:
        raise RuntimeError("boom")

    for answer in (lambda *_: None, CHECKS[name], crash):
        verdict = check(answer)
        assert isinstance(verdict, Verdict) and not verdict.passed and verdict.message
