import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvlm.data.hashing import below, bits, chance, mix, permutation, scene_keys

WORD = (1 << 64) - 1


def slow_mix(x: int) -> int:
    z = (x + 0x9E3779B97F4A7C15) & WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
    return z ^ (z >> 31)


def test_first_outputs_of_splitmix64_from_seed_zero() -> None:
    # The reference implementation's first three outputs for state 0.
    golden = 0x9E3779B97F4A7C15
    states = np.array([0, golden, (2 * golden) & WORD], np.uint64)
    assert [hex(v) for v in mix(states).tolist()] == ["0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4", "0x6c45d188009454f"]


@given(st.lists(st.integers(0, WORD), min_size=1, max_size=20))
def test_mixing_equals_whole_numbers(values: list[int]) -> None:
    assert mix(np.array(values, np.uint64)).tolist() == [slow_mix(v) for v in values]


@given(st.lists(st.integers(0, 2**40), min_size=2, max_size=30), st.integers(-(2**70), 2**70))
def test_bits_depend_on_neither_order_nor_batch(indices: list[int], seed: int) -> None:
    keys = scene_keys(seed, np.array(indices))
    whole = bits(keys, "noun", 3, attempt=np.arange(len(indices)))
    alone = [bits(keys[i : i + 1], "noun", 3, attempt=i)[0] for i in range(len(indices))]
    assert np.array_equal(whole, np.stack(alone))


def test_fields_seeds_and_attempts_draw_differently() -> None:
    keys = scene_keys(0, np.arange(1000))
    draws = [bits(keys, "noun"), bits(keys, "plate"), bits(keys, "noun", attempt=1), bits(keys, "noun", seed=1),
             bits(scene_keys(1, np.arange(1000)), "noun"), *bits(keys, "noun", 2).T]  # fmt: skip
    assert len(np.unique(np.concatenate(draws))) == 1000 * len(draws)


@pytest.mark.parametrize("bound", [1, 2, 3, 10, 315])
def test_below_is_even(bound: int) -> None:
    draws = below(bits(scene_keys(0, np.arange(40_000)), "any"), bound)
    counts = np.bincount(draws, minlength=bound)
    assert len(counts) == bound
    expected = 40_000 / bound
    assert np.abs(counts - expected).max() <= 5 * np.sqrt(expected)


def test_chance_is_a_share() -> None:
    random = bits(scene_keys(0, np.arange(20_000)), "any")
    assert not chance(random, 0).any() and chance(random, 1).all()
    assert abs(chance(random, 0.3).mean() - 0.3) < 0.02


def test_permutation_holds_every_number_and_changes_with_the_seed() -> None:
    assert sorted(permutation(100, "epoch").tolist()) == list(range(100))
    assert permutation(100, "epoch", 0).tolist() != permutation(100, "epoch", 1).tolist()


@pytest.mark.parametrize(
    ("indices", "words"), [([-1], "negative"), ([[0]], "row of integers"), ([0.5], "row of integers")]
)
def test_indices_must_be_a_row_of_numbers_from_zero(indices: list, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        scene_keys(0, np.array(indices))
