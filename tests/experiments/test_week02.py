"""Week 2: networks, training sets and measurements, and what its exercises accept."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tinyvlm.experiments import week02, week02_checks
from tinyvlm.layers import resize_grid
from tinyvlm.training import Stage

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


@pytest.mark.parametrize("preset", week02.BUDGETS)
def test_training_sets_grow_and_the_largest_is_hardly_repeated(preset: str) -> None:
    budget = week02.BUDGETS[preset]
    little, more, much = budget.pictures
    assert little < more < much and little >= budget.nouns
    assert budget.batch * budget.steps < 2.1 * much
    headline = week02.CLAIMS[0]
    assert [week02.ARMS[arm].data for arm in headline.arms] == [0, 1, 2]


def test_both_networks_see_the_same_few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    stages: list[Stage] = []
    monkeypatch.setattr(week02, "fit", lambda task, given, **options: stages.extend(given))
    for name in ("ViT", "CNN"):
        week02.train(name, 20, 3, replace(SMOKE, steps=9, batch=16))
    vit, cnn = (torch.cat([stage.source(step)["index"] for step in range(stage.steps)]) for stage in stages)
    assert torch.equal(vit, cnn) and len(vit) == 144 and set(vit.tolist()) == set(range(20))


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
    "own_rate": lambda: 1e-4,
}
RIGHT = {
    "resize_positions": resize_grid,
    "equivariance_gap": lambda f, tokens, order: (f(tokens)[:, order] - f(tokens[:, order])).abs().max(),
}


@pytest.mark.parametrize("rate", [0.0, 1.0, "0.003", 1e-3])
def test_the_rate_must_be_one_and_another_than_before(rate: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(week02_checks, "_loss_reached", lambda rate: 0.5 if rate == 4e-3 else 1.0)
    verdict = week02_checks.own_rate(lambda: rate)
    assert not verdict.passed and ("between 0 and 1" in verdict.message) == (rate != 1e-3)
    assert week02_checks.own_rate(lambda: 4e-3).passed


@pytest.mark.parametrize("name", WRONG)
def test_checks_refuse_wrong_answers(name: str) -> None:
    verdict = getattr(week02_checks, name)(WRONG[name])
    assert not verdict.passed and verdict.message


@pytest.mark.parametrize("name", RIGHT)
def test_checks_accept_what_the_core_does(name: str) -> None:
    assert getattr(week02_checks, name)(RIGHT[name]).passed


def test_the_resizing_check_refuses_rows_taken_for_columns() -> None:
    def transposed(table: torch.Tensor, side: int) -> torch.Tensor:
        resized = resize_grid(table, side)
        return torch.cat([resized[:1], resized[1:].unflatten(0, (side, side)).transpose(0, 1).flatten(0, 1)])

    verdict = week02_checks.resize_positions(transposed)
    assert not verdict.passed and "rows and columns" in verdict.message
