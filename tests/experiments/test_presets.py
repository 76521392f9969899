"""Presets by hardware, by environment, by name; budgets by preset and size."""

from dataclasses import dataclass

import pytest
import torch

from tinyvlm.experiments.presets import PRESETS, budget, choose, preset
from tinyvlm.models.clip import CLIPConfig


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


@dataclass(frozen=True)
class Budget:
    size: str
    steps: int


BUDGETS = {"smoke": Budget("micro", 2), "cpu": Budget("micro", 20), "gpu": Budget("small", 200)}


def test_a_budget_is_the_presets_in_the_size_that_is_asked_for(monkeypatch):
    monkeypatch.delenv("TINYVLM_SIZE", raising=False)
    assert budget(BUDGETS, "gpu", CLIPConfig) == BUDGETS["gpu"]
    assert budget(BUDGETS, "cpu", CLIPConfig, "ViT-B/32") == Budget("ViT-B/32", 20)
    monkeypatch.setenv("TINYVLM_SIZE", "small")
    assert budget(BUDGETS, "cpu", CLIPConfig) == Budget("small", 20)
    assert budget(BUDGETS, "cpu", CLIPConfig, "micro") == Budget("micro", 20)
    assert budget(BUDGETS, "cpu", None) == BUDGETS["cpu"]


def test_unknown_presets_and_sizes_are_refused_with_the_list(monkeypatch):
    with pytest.raises(ValueError, match=r"^Preset is 'tpu': choose one of smoke, cpu, gpu\.$"):
        budget(BUDGETS, "tpu", CLIPConfig)
    with pytest.raises(ValueError, match="unknown size 'huge'; choose from micro, small"):
        budget(BUDGETS, "cpu", CLIPConfig, "huge")
    with pytest.raises(ValueError, match="Size is 'micro', but this week trains no model: leave the size out"):
        budget(BUDGETS, "cpu", None, "micro")
    monkeypatch.setenv("TINYVLM_SIZE", "giant")
    with pytest.raises(ValueError, match="unknown size 'giant'"):
        budget(BUDGETS, "cpu", CLIPConfig)
