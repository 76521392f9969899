"""The libraries that the converters are held against. They meet the core only here."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

REFERENCE = Path(__file__).resolve().parents[2] / ".reference"


def import_torchvision() -> None:
    """open_clip imports torchvision, and beside a CPU torch its operators lack: registering their shapes fails, which
    nobody here needs. In `sys.modules` it is harmless afterwards."""
    register = torch.library.register_fake

    def without_torchvision(operator, *arguments, **options):
        if isinstance(operator, str) and operator.startswith("torchvision::"):
            return lambda function: function
        return register(operator, *arguments, **options)

    torch.library.register_fake = without_torchvision
    try:
        importlib.import_module("torchvision")
    finally:
        torch.library.register_fake = register


@pytest.fixture(scope="session")
def transformers() -> ModuleType:
    module = importlib.import_module("transformers")
    module.logging.set_verbosity_error()
    module.logging.disable_progress_bar()
    return module


@pytest.fixture(scope="session")
def open_clip(transformers: ModuleType) -> ModuleType:
    """From .reference/ at the root, kept apart from the environment. transformers comes first: it must not see it."""
    sys.path.append(str(REFERENCE))
    for name in ("open_clip", "torchvision", "timm"):
        if not importlib.util.find_spec(name):
            pytest.skip(f"{name} is not installed: `make reference` puts it into {REFERENCE.name}/")
    import_torchvision()
    return importlib.import_module("open_clip.model")


@pytest.fixture
def shake():
    """Gives every parameter a value of its own, those that start at 0 or 1 too, so that no tensor can be forgotten."""

    def shake(model: nn.Module, std: float = 0.3) -> nn.Module:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(torch.randn_like(parameter) * std)
                if "norm" in name.lower().split(".")[-2:][0] or ".ln_" in f".{name}":
                    parameter.add_(float(name.endswith("weight")))
                if name.endswith("logit_scale"):
                    parameter.fill_(1.3)
        return model.eval()

    return shake
