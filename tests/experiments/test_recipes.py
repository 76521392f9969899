"""The shared recipe: its warm-up, its schedule, and the optimisers that it is given."""

import pytest

from tinyvlm.experiments.recipes import adamw, stage


def source(step: int, rank: int = 0, world: int = 1) -> dict:
    return {}


@pytest.mark.parametrize(
    ("steps", "given", "expected"),
    [
        (1, {}, 1),
        (100, {}, 25),
        (4000, {}, 50),
        (100, {"part": 10}, 10),
        (4000, {"part": 10}, 50),
        (4000, {"warmup": 20}, 20),
        (8, {"warmup": 20}, 2),
    ],
)
def test_the_warm_up_is_short_in_short_runs(steps: int, given: dict, expected: int) -> None:
    made = stage("train", steps, source, adamw(1e-3), **given)
    assert made.schedule.warmup == expected
    assert made.schedule.factor(expected - 1, steps) == 1.0


def test_it_falls_to_two_hundredths_of_the_peak() -> None:
    made = stage("train", 400, source, adamw(1e-3))
    assert made.schedule.factor(399, 400) == pytest.approx(0.02) and made.schedule.factor(224, 400) > 0.5
    assert (made.name, made.steps, made.source, made.trainable, made.clip) == ("train", 400, source, None, 1.0)


def test_optimisers_and_what_is_trained_are_as_given() -> None:
    first, second = adamw(1e-3, parameters="trunk"), adamw(2e-4, decay=0.01, betas=(0.9, 0.999), eps=1e-8)
    made = stage("train", 4, source, first, second, trainable="model")
    assert made.optimisers == (first, second) and made.trainable == "model"
    assert (first.name, first.lr, first.weight_decay) == ("adamw", 1e-3, 0.05)
    assert (first.betas, first.eps, first.parameters) == ((0.9, 0.98), 1e-6, "trunk")
    assert (second.lr, second.weight_decay, second.betas, second.eps) == (2e-4, 0.01, (0.9, 0.999), 1e-8)
    with pytest.raises(ValueError, match="Stage 'train' has no optimiser"):
        stage("train", 4, source)
