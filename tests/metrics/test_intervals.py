"""The bootstrap interval: agrees with the normal approximation, covers, repeats, and refuses what it cannot use."""

import numpy as np
import pytest
import torch

from tinyvlm.metrics import bootstrap_interval


def test_agrees_with_the_normal_approximation() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, size=1000)
    mean, low, high = bootstrap_interval(values, resamples=4000)
    half = 1.96 * values.std() / np.sqrt(values.size)
    assert mean == pytest.approx(values.mean())
    assert (low, high) == (pytest.approx(mean - half, abs=0.02), pytest.approx(mean + half, abs=0.02))


def test_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    inside = 0
    for trial in range(200):
        interval = bootstrap_interval(rng.random(80) < 0.3, level=0.9, resamples=300, seed=trial)
        inside += interval.low <= 0.3 <= interval.high
    assert 0.83 <= inside / 200 <= 0.96


def test_same_seed_same_interval_on_tensors_and_lists() -> None:
    values = [0.1, 0.7, 0.35, 0.9, 0.2, 0.6, 0.05]
    assert bootstrap_interval(torch.tensor(values, dtype=torch.float64)) == bootstrap_interval(values)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)
    hits = torch.tensor([True, False, True, True])
    assert bootstrap_interval(hits).mean == 0.75


def test_large_sets_are_resampled_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    from tinyvlm.metrics import intervals

    values = np.random.default_rng(3).random(50)
    whole = bootstrap_interval(values, resamples=200)
    monkeypatch.setattr(intervals, "_INDICES_AT_ONCE", 999)
    assert bootstrap_interval(values, resamples=200) == whole


def test_equal_values_have_no_width() -> None:
    assert bootstrap_interval([2.0] * 10) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([1.0], {}, "at least 2 values and got 1"),
        ([1.0, float("nan")], {}, "NaN or infinity"),
        ([1.0, 2.0], {"level": 95.0}, "between 0 and 1"),
        ([1.0, 2.0], {"resamples": 10}, "at least 100"),
    ],
)
def test_bad_input_gets_one_sentence(values: list[float], options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(values, **options)
