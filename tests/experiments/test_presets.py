"""Presets by hardware, by environment, by name."""

import pytest
import torch

from tinyvlm.experiments.presets import PRESETS, choose, preset


def test_the_hardware_decides_unless_told(monkeypatch):
    monkeypatch.delenv("TINYVLM_PRESET", raising=False)
    for available, expected in ((False, "cpu"), (True, "gpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert preset() == expected
    monkeypatch.setenv("TINYVLM_PRESET", "smoke")
    assert preset() == "smoke" and preset("cpu") == "cpu"


def test_an_unknown_preset_is_named_with_the_allowed_ones(monkeypatch):
    with pytest.raises(ValueError, match=r"^Preset is 'huge': choose one of smoke, cpu, gpu\.$"):
        preset("huge")
    monkeypatch.setenv("TINYVLM_PRESET", "fast")
    with pytest.raises(ValueError, match=r"^Preset in TINYVLM_PRESET is 'fast': choose one of smoke, cpu, gpu\.$"):
        preset()


def test_choose_gives_a_presets_value():
    assert [choose(name, smoke=1, cpu=2, gpu=3) for name in PRESETS] == [1, 2, 3]
    with pytest.raises(ValueError, match="'tpu'"):
        choose("tpu", smoke=1, cpu=2, gpu=3)
