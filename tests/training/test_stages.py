"""Stages, schedules and the optimisers built from them."""

import pytest
import torch
from toy_task import Toy, source

from tinyvlm.training import Optimiser, Schedule, Stage
from tinyvlm.training.stages import build_optimisers, decays, only_trainable, set_rates


def test_warm_up_then_cosine_to_the_floor():
    factors = [Schedule(4, "cosine", 0.1).factor(step, 11) for step in range(11)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[4] == 1.0 and factors[7] == pytest.approx(0.55) and factors[10] == pytest.approx(0.1)
    assert factors[4:] == sorted(factors[4:], reverse=True)


def test_linear_and_constant():
    assert [Schedule(0, "linear").factor(step, 5) for step in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert {Schedule(0, "constant").factor(step, 5) for step in range(5)} == {1.0}
    assert Schedule(3, "cosine").factor(0, 1) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("model.blocks.0.attention.query.weight", (8, 8), True),
        ("model.text.embedding.weight", (30, 8), True),
        ("model.patches.weight", (8, 3, 4, 4), True),
        ("model.blocks.0.attention.query.bias", (8,), False),
        ("model.norm.weight", (8,), False),
        ("model.log_scale", (), False),
        ("model.vision.position", (17, 8), False),
        ("model.vision.positions.weight", (17, 8), False),
        ("model.vision.pos_embed", (1, 17, 8), False),
        ("model.vision.class_token", (1, 1, 8), False),
        ("model.vision.cls", (1, 1, 8), False),
        ("model.composition.weight", (8, 8), True),
        ("model.pooler.queries", (4, 8), False),
        ("model.resampler.latents", (64, 8), False),
        ("model.mask_token", (1, 1, 8), False),
        ("model.relative.table", (12, 2), False),
        ("model.queries.weight", (8, 8), True),
        ("model.text_tokens.weight", (30, 8), True),
    ],
)
def test_decay_is_for_matrices_of_features(name, shape, expected):
    assert decays(name, torch.zeros(shape)) is expected


def test_groups_hold_every_parameter_once_and_rates_follow_the_schedules():
    task = Toy()
    own = Schedule(0, "constant")
    stage = Stage(
        "s",
        10,
        source(),
        optimisers=(Optimiser("sgd", lr=2.0, parameters="stem|norm", schedule=own), Optimiser(lr=1.0)),
        schedule=Schedule(10),
    )
    with only_trainable(task, stage) as parameters:
        first, second = build_optimisers(stage, parameters)
    names = [name for optimiser in (first, second) for group in optimiser.param_groups for name in group["names"]]
    assert sorted(names) == sorted(name for name, _ in task.named_parameters())
    assert isinstance(first, torch.optim.SGD) and isinstance(second, torch.optim.AdamW)
    assert all("stem" in n or "norm" in n for group in first.param_groups for n in group["names"])
    assert [group["weight_decay"] for group in second.param_groups] == [0.05, 0.0]
    set_rates(stage, [first, second], 4)
    assert {group["lr"] for group in first.param_groups} == {2.0}
    assert {group["lr"] for group in second.param_groups} == {0.5}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Schedule(kind="step"), "'step' is unknown: choose one of constant, cosine, linear"),
        (lambda: Schedule(floor=2.0), "floor within 0 and 1"),
        (lambda: Optimiser("adam"), "'adam' is unknown: choose one of adamw, adafactor, sgd"),
        (lambda: Optimiser(parameters="("), "no regular expression"),
        (lambda: Stage("s", 0, source()), "'s' has 0 steps"),
        (lambda: Stage("s", 1, source(), trainable="["), "trainable of stage 's'"),
        (lambda: Stage("s", 1, source(), optimisers=()), "no optimiser"),
        (lambda: Stage("s", 1, source(), clip=0.0), "clips at 0.0"),
    ],
)
def test_settings_that_cannot_be_are_named(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert message in str(error.value)


def test_parameters_and_optimisers_must_fit():
    task = Toy()
    with pytest.raises(ValueError, match="trains nothing: trainable='tail'"):
        with only_trainable(task, Stage("s", 1, source(), trainable="tail")):
            pass
    parameters = dict(task.named_parameters())
    with pytest.raises(ValueError, match=r"trains model\.norm\.weight and 5 more without an optimiser"):
        build_optimisers(Stage("s", 1, source(), optimisers=(Optimiser(parameters="stem"),)), parameters)
    with pytest.raises(ValueError, match="Optimiser 1 of stage 's' has no parameter"):
        build_optimisers(Stage("s", 1, source(), optimisers=(Optimiser(), Optimiser(parameters="head"))), parameters)
