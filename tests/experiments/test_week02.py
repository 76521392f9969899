"""Week 2: networks, arms, budgets and measurements are what the chapter and the claims' queue rely on."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tinyvlm.experiments import week02, week02_checks
from tinyvlm.experiments.exercises import Verdict
from tinyvlm.layers import resize_grid

SMOKE = week02.BUDGETS["smoke"]


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("size", ["micro", "small"])
@pytest.mark.parametrize("nouns", sorted({budget.nouns for budget in week02.BUDGETS.values()}))
def test_the_opponents_have_equally_many_parameters(size: str, nouns: int) -> None:
    with torch.device("meta"):
        counts = {name: parameters(week02.network(name, size, nouns)) for name in ("CNN", *week02.VARIANTS)}
    assert all(abs(count / counts["ViT"] - 1) < 0.01 for count in counts.values()), counts


@pytest.mark.parametrize("name", ["CNN", *week02.VARIANTS])
def test_networks_start_undecided_and_read_the_same_pictures(name: str) -> None:
    out = week02.network(name, "micro", 7)(torch.randn(2, 3, 48, 48))
    assert out.logits.shape == (2, 7) and (out.logits == 0).all()
    assert out.features.shape == (2, out.tokens.shape[-1])


def test_variants_change_what_they_name() -> None:
    plain, bag, mean = (week02.network(name) for name in week02.VARIANTS)
    assert not set(bag.state_dict()) - set(plain.state_dict())
    assert set(plain.state_dict()) - set(bag.state_dict()) == {"tower.positions.weight"}
    assert mean.tower.class_token is None and mean.config.pool == "mean"
    assert mean.tower.positions.weight.shape[0] == plain.tower.positions.weight.shape[0] - 1
    with pytest.raises(ValueError, match="week 2 has no network 'MLP'; choose from CNN, ViT"):
        week02.network("MLP")


def test_every_arm_of_a_claim_exists_and_every_arm_is_used() -> None:
    assert {arm for claim in week02.CLAIMS for arm in claim.arms} == set(week02.ARMS)
    headline = [claim for claim in week02.CLAIMS if claim.kind == "headline"]
    assert len(headline) == 1 and len(headline[0].arms) == 3
    assert [week02.ARMS[arm].data for arm in headline[0].arms] == [0, 1, 2]


def test_claims_point_the_way_their_statements_say() -> None:
    def differences(**changes: dict[str, float]) -> dict[str, float]:
        row = {"ViT": 0.5, "ViT, patches shuffled": 0.5, "CNN": 0.8, "gap": 0.3}
        short = {arm: arm.replace("much data, ", "").replace(" ", "_") for arm in week02.ARMS}
        arms = {arm: {**row, **changes.get(name, {})} for arm, name in short.items()}
        return {claim.id: claim.difference({arm: arms[arm] for arm in claim.arms}) for claim in week02.CLAIMS}

    assert set(differences().values()) == {0.0}
    assert differences(little_data={"gap": 0.7})["data"] == pytest.approx(0.4)
    assert differences(no_positions={"ViT": 0.4, "ViT, patches shuffled": 0.4})["positions"] == pytest.approx(0.1)
    assert differences(mean_pooling={"ViT": 0.7})["pooling"] == pytest.approx(-0.2)
    assert differences(much_data={"ViT, patches shuffled": 0.2})["shuffling"] == pytest.approx(0.3)
    # A model without positions that moves under shuffling, either way, speaks against the claim.
    for moved in (0.4, 0.6):
        assert differences(no_positions={"ViT, patches shuffled": moved})["shuffling"] == pytest.approx(-0.1)


def test_settings_tell_arms_and_presets_apart() -> None:
    found = [str(week02.settings(arm, preset)) for arm in week02.ARMS for preset in week02.BUDGETS]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("preset", week02.BUDGETS)
def test_training_sets_grow_and_the_largest_is_hardly_repeated(preset: str) -> None:
    budget = week02.BUDGETS[preset]
    little, more, much = budget.pictures
    assert little < more < much and little >= budget.nouns
    assert budget.batch * budget.steps < 2.1 * much


def test_unknown_arm_and_size_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="week 2 has no arm 'ResNet'; choose from little data"):
        week02.run_arm("ResNet", 0, "smoke")
    monkeypatch.setenv("TINYVLM_SIZE", "huge")
    with pytest.raises(ValueError, match="unknown size 'huge'; choose from micro, small"):
        week02.budget("cpu")
    monkeypatch.setenv("TINYVLM_SIZE", "small")
    assert week02.budget("cpu").pixels == 64


def test_both_networks_see_the_same_few_pictures() -> None:
    seen = set()
    for name in ("ViT", "CNN"):
        (stage,) = week02.recipe(SMOKE.view("train", 3), 20, 9, 16)
        seen.add(tuple(torch.cat([stage.source(step)["index"] for step in range(9)]).tolist()))
        assert stage.steps == 9 and name
    (indices,) = seen
    assert set(indices) == set(range(20)) and len(indices) == 144


def test_shuffled_patches_are_the_same_patches_in_another_order() -> None:
    image = torch.arange(2 * 3 * 48 * 48).remainder(251).to(torch.uint8).reshape(2, 3, 48, 48)
    shuffled = week02.shuffle_patches(image, 12, torch.Generator().manual_seed(0))

    def patches(pictures: torch.Tensor) -> list[list[bytes]]:
        corners = [(y, x) for y in range(0, 48, 12) for x in range(0, 48, 12)]
        return [[picture[:, y : y + 12, x : x + 12].numpy().tobytes() for y, x in corners] for picture in pictures]

    orders = []
    for before, after in zip(patches(image), patches(shuffled), strict=True):
        assert sorted(before) == sorted(after) and before != after
        orders.append([before.index(one) for one in after])
    assert orders[0] != orders[1]


def test_evaluation_counts_what_the_logits_say() -> None:
    """A network that knows the labels is right everywhere; one that always says 0 is right where 0 is."""
    budget = replace(SMOKE, measured=96)
    batch = budget.view("val", 4).batch(range(96))
    answers = {row.numpy().tobytes(): int(label) for row, label in zip(batch["image"], batch["label"], strict=True)}

    class Oracle(nn.Module):
        def __init__(self, honest: bool):
            super().__init__()
            self.anchor, self.honest = nn.Parameter(torch.zeros(1)), honest

        def forward(self, image: torch.Tensor) -> week02.ViTOutput:
            pixels = (image * 127.5 + 127.5).round().to(torch.uint8)
            label = [answers.get(row.numpy().tobytes(), 0) if self.honest else 0 for row in pixels]
            logits = nn.functional.one_hot(torch.tensor(label), 64).float()
            return week02.ViTOutput(torch.zeros(len(image), 1, 2), torch.zeros(len(image), 2), logits)

    found = week02.evaluate(Oracle(True), budget, seed=4)
    zero = (batch["label"] == 0).double().mean().item()
    assert found["top-1"] == found["mean per class"] == 1.0 and found["patches shuffled"] == pytest.approx(zero)
    guess = week02.evaluate(Oracle(False), budget, seed=4)
    assert guess["top-1"] == pytest.approx(zero)
    assert guess["mean per class"] == pytest.approx(float(zero > 0) / len(batch["label"].unique()))


def test_ridge_separates_what_is_separable() -> None:
    torch.manual_seed(0)
    centres, label = 5 * torch.randn(6, 8), torch.arange(60) % 6
    support, queries = (centres[label] + 0.1 * torch.randn(60, 8) for _ in range(2))
    assert torch.equal(week02.ridge(support, label, queries), label)
    # Another scale or another origin of the features is no other task.
    assert torch.equal(week02.ridge(100 * support + 3, label, 100 * queries + 3), label)
    assert (week02.ridge(torch.ones(60, 8), label, torch.ones(60, 8)) == week02.ridge(
        torch.ones(60, 8), label, torch.ones(60, 8))[0]).all()  # fmt: skip


def test_few_shot_asks_for_nouns_that_no_training_shows() -> None:
    asked: list[torch.Tensor] = []

    class Colour(nn.Module):
        """Mean colours of 4 x 4 fields: enough to beat guessing."""

        def __init__(self) -> None:
            super().__init__()
            self.anchor = nn.Parameter(torch.zeros(1))

        def forward(self, image: torch.Tensor) -> week02.ViTOutput:
            asked.append(image)
            found = nn.functional.avg_pool2d(image, 12).flatten(1)
            return week02.ViTOutput(found[:, None], found, found)

    score = week02.few_shot(Colour(), SMOKE, shots=3)
    assert sum(map(len, asked)) == 60 * (3 + SMOKE.queries)
    assert 2 / 60 < score < 0.9


def test_the_canary_is_that_of_both_networks_and_starts_at_ln_c() -> None:
    losses = week02.canary()
    assert len(losses) == 20 and losses == week02.canary()
    assert losses[0] == pytest.approx(losses[10]) == pytest.approx(torch.tensor(64.0).log().item(), abs=1e-5)
    assert losses[9] < losses[0] and losses[1:10] != losses[11:]


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["little data", "much data, no positions"])
def test_an_arm_runs_and_reports(arm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(week02.BUDGETS, "smoke", replace(SMOKE, steps=3))
    heard: list[tuple[int, int]] = []
    found = week02.run_arm(arm, 1, "smoke", lambda done, total: heard.append((done, total)))
    networks = len(week02.ARMS[arm].networks)
    assert heard[-1] == (3 * networks, 3 * networks) and heard == sorted(heard)
    assert all(0 <= value <= 1 for name, value in found.items() if name != "gap")
    if networks == 2:
        assert found["gap"] == pytest.approx(found["CNN"] - found["ViT"])
    else:
        assert found["ViT"] == found["ViT, patches shuffled"] and "CNN" not in found


@pytest.mark.slow
def test_both_networks_learn_a_small_set_by_heart() -> None:
    budget = replace(SMOKE, steps=60, nouns=8)
    for name in ("ViT", "CNN"):
        _, history = week02.train(name, 64, 0, budget)
        assert history.loss[-1] < 0.5 * history.loss[0], name


def wrong_resize(table: torch.Tensor, new_side: int) -> torch.Tensor:
    """The classic bug: the class token's entry is taken for a place."""
    stretched = torch.nn.functional.interpolate(table.T[None], size=new_side**2 + 1, mode="linear")
    return stretched[0].T


WRONG = {
    "parameter_count": lambda image_size, patch, width, layers, hidden, classes: 86_567_656,
    "resize_positions": wrong_resize,
    "equivariance_gap": lambda encoder, tokens, order: 0.0,
}
RIGHT = {
    "resize_positions": resize_grid,
    "equivariance_gap": lambda f, tokens, order: (f(tokens)[:, order] - f(tokens[:, order])).abs().max(),
}


@pytest.mark.parametrize("name", WRONG)
def test_checks_refuse_stubs_wrong_answers_and_crashes_without_raising(name: str) -> None:
    check = getattr(week02_checks, name)

    def crash(*_: object) -> None:
        raise RuntimeError("boom")

    for answer in (lambda *_: None, WRONG[name], crash):
        verdict = check(answer)
        assert isinstance(verdict, Verdict) and not verdict.passed and verdict.message


@pytest.mark.parametrize("name", RIGHT)
def test_checks_accept_what_the_core_does(name: str) -> None:
    assert getattr(week02_checks, name)(RIGHT[name]).passed


def test_the_resizing_check_refuses_rows_taken_for_columns() -> None:
    def transposed(table: torch.Tensor, side: int) -> torch.Tensor:
        resized = resize_grid(table, side)
        return torch.cat([resized[:1], resized[1:].unflatten(0, (side, side)).transpose(0, 1).flatten(0, 1)])

    verdict = week02_checks.resize_positions(transposed)
    assert not verdict.passed and "rows and columns" in verdict.message
