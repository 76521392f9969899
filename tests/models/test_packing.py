"""Eight-bit weights: errors within half a step, rows left out load as zeros, and a damaged file is told."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tinyvlm.models import CLIP
from tinyvlm.models.packing import KEPT, SCALE, pack, unpack


@given(seed=st.integers(0, 1000), height=st.integers(1, 9), size=st.sampled_from([1e-6, 1e-2, 1.0, 300.0]))
def test_an_error_is_within_half_a_step_of_its_row(seed: int, height: int, size: float) -> None:
    weights = size * torch.randn(height, 3, 2, 2, generator=torch.Generator().manual_seed(seed))
    found = unpack(pack({"patches.weight": weights}))["patches.weight"]
    step = weights.flatten(1).abs().amax(1) / 127
    # float16 writes the step to 2^-11 of itself, which the largest whole number multiplies by 127.
    bound = (0.5 + 127 * 2**-11) * step + 127 * torch.finfo(torch.float16).smallest_normal / 2
    assert ((found - weights).abs().flatten(1).amax(1) <= bound).all()


def test_only_matrices_are_packed() -> None:
    state = {"norm.weight": torch.tensor([0.5, 1.5]), "steps": torch.tensor(3), "head.weight": torch.zeros(2, 4)}
    packed = pack(state)
    assert packed["norm.weight"].dtype == torch.float16 and packed["steps"].dtype == torch.int64
    assert packed["head.weight"].dtype == torch.int8 and packed["head.weight" + SCALE].dtype == torch.float16
    found = unpack(packed)
    assert list(found["norm.weight"]) == [0.5, 1.5] and found["steps"] == 3
    assert torch.equal(found["head.weight"], torch.zeros(2, 4))


def test_a_state_that_was_never_packed_stays_as_it_is() -> None:
    state = {"head.weight": torch.randn(2, 4), "steps": torch.tensor(3)}
    found = unpack(state)
    assert found.keys() == state.keys() and all(found[name] is value for name, value in state.items())


def test_a_word_table_keeps_the_rows_asked_for() -> None:
    table = torch.randn(10, 4)
    packed = pack({"text.words.weight": table, "head.weight": table}, words=[7, 2])
    assert packed["text.words.weight"].shape == (2, 4) and packed["head.weight"].shape == (10, 4)
    found = unpack(packed)["text.words.weight"]
    assert found.shape == table.shape and torch.allclose(found[[2, 7]], table[[2, 7]], atol=0.02)
    assert not found[[0, 1, 3, 4, 5, 6, 8, 9]].any()


def test_a_packed_folder_loads_and_a_damaged_one_is_told(tmp_path) -> None:
    model = CLIP.named("micro")
    model.save_pretrained(tmp_path, dtype=torch.int8)
    loaded = CLIP.from_pretrained(tmp_path)
    table, found = model.text.words.weight, loaded.text.words.weight
    assert torch.allclose(found, table, atol=1e-2 * table.abs().max().item()) and found.requires_grad
    packed = pack(model.state_dict(), words=[1, 2, 3])
    for part, value in ((SCALE, torch.ones(5).half()), (KEPT, torch.ones(4096, dtype=torch.bool))):
        with pytest.raises(ValueError, match=r"^text.words.weight .* fetch .*the checkpoint again$"):
            unpack({**packed, "text.words.weight" + part: value})
    lonely = {name: value for name, value in packed.items() if name != "text.words.weight"}
    with pytest.raises(ValueError, match="does not fit its scale"):
        unpack(lonely)
