"""Which parameters weight decay pulls at, listed for every model of the course and for parts no model has yet."""

import pytest
import torch
from torch import nn

import tinyvlm.models  # noqa: F401 (defines the subclasses)
from tinyvlm.layers import AttentionPooler, Experts, FeedForward, PatchEmbedding, RelativeBuckets, RelativePositions
from tinyvlm.models.base import PaperModel
from tinyvlm.training.stages import decays

MODELS = sorted((cls for cls in PaperModel.__subclasses__() if cls.__module__.startswith("tinyvlm")), key=str)
MULTIPLY = (nn.Linear, nn.Conv2d, nn.Embedding, PatchEmbedding)


def lists(model: nn.Module) -> dict[bool, set[str]]:
    """Names of parameters that decay (True) and that do not, as a task around the model has them."""
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for name, parameter in model.named_parameters(prefix="model"):
        found[decays(name, parameter)].add(name)
    return found


def weights(model: nn.Module) -> set[str]:
    """Weight matrices and kernels of layers that multiply features, and word tables; no table of positions."""
    return {f"{name}.weight" for name, module in model.named_modules(prefix="model") if isinstance(module, MULTIPLY)}


@pytest.mark.parametrize("cls", MODELS, ids=lambda cls: cls.__name__)
def test_weights_of_layers_decay_and_nothing_else(cls):
    for size in cls.Config.SIZES:
        with torch.device("meta"):
            model = cls.named(size)
        found = lists(model)
        for decay, names in found.items():
            print(f"{cls.__name__} {size}, {'decays' if decay else 'does not decay'}:", *sorted(names), sep="\n  ")
        assert found[True] == weights(model)
        assert found[False] == {name for name, _ in model.named_parameters(prefix="model")} - weights(model) != set()


def test_every_model_of_the_course_is_looked_at():
    assert {"ViT", "CLIP", "PixelBERT", "ALBEF"} <= {cls.__name__ for cls in MODELS}


class Parts(nn.Module):
    """What the coming papers learn one vector at a time, beside layers that decay."""

    def __init__(self) -> None:
        super().__init__()
        self.pooler = AttentionPooler(3, 8, 2, 6)
        self.relative, self.buckets = RelativePositions(2, 4), RelativeBuckets(4)
        self.mask_token, self.class_token = nn.Parameter(torch.zeros(1, 1, 8)), nn.Parameter(torch.zeros(1, 8))
        self.latents = nn.Parameter(torch.zeros(5, 8))
        self.experts = Experts(text=FeedForward(8, 16), vision=FeedForward(8, 16))


def test_learned_queries_tables_and_tokens_do_not_decay():
    model = Parts()
    found = lists(model)
    assert found[True] == weights(model)
    alone = {"pooler.queries", "relative.table", "buckets.table", "mask_token", "class_token", "latents"}
    assert {f"model.{name}" for name in alone} <= found[False]
