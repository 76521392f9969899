"""Each paper's spec against its module tree, configuration and task: what is drawn exists, what exists is drawn."""

import inspect
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from tinyvlm.blueprint import Arrow, Blocks, Blueprint, Branch, Line, Part, describe, gone_from, missing_in
from tinyvlm.layers.residual import Stack
from tinyvlm.models import (
    ALBEF,
    CLIP,
    ALBEFTask,
    BEiT,
    BEiTTask,
    CLIPTask,
    MaskVLM,
    MaskVLMTask,
    PixelBERT,
    PixelBERTTask,
    Task,
    TokenizerTask,
    VisualTokenizer,
    ViT,
    ViTTask,
    VLMo,
    VLMoTask,
)
from tinyvlm.models.beit import BEiTClassifier

RATES = torch.full((4096,), 0.4)
TASKS = {
    ViT: ViTTask,
    CLIP: CLIPTask,
    PixelBERT: lambda model: PixelBERTTask(model, RATES, cells=4),
    ALBEF: lambda model: ALBEFTask(model, RATES, queue=8),
    BEiT: lambda model: BEiTTask(model, VisualTokenizer.named("micro"), count=6, least=2),
    BEiTClassifier: ViTTask,
    VisualTokenizer: TokenizerTask,
    MaskVLM: lambda model: MaskVLMTask(model, RATES, block=24),
    VLMo: lambda model: VLMoTask(model, RATES),
}
MODELS = list(TASKS)


def built(model: type) -> tuple[Blueprint, nn.Module, Task]:
    network = model.named("micro")
    return model.blueprint("micro"), network, TASKS[model](network)


def absent(module: object) -> bool:
    """What stands in a model without doing anything: parts of other sizes."""
    return module is None or isinstance(module, nn.Identity | nn.Dropout)


def children(module: nn.Module) -> dict[str, object]:
    """Modules, parameters and their places left empty."""
    own = {**module._modules, **module._parameters}
    return {name: child for name, child in own.items() if not absent(child)}


def find(root: nn.Module, path: str) -> object:
    for name in path.split("."):
        root = root[0][name] if isinstance(root, Stack) else getattr(root, name, None)
    return root


def complaints(drawn: Blueprint, network: nn.Module, task: nn.Module) -> list[str]:
    """Where a spec and what was built differ."""
    found, paths, opened = [], set(), set()
    own = {name for name in children(task) if name != "model"}
    beside = set()
    for element in drawn.elements():
        part, thing, path = drawn.parts[element.placed[0]], element.thing, element.path
        if not path or part.role == "input" or (isinstance(thing, Part) and thing.role == "loss"):
            continue
        if part.role == "use" or getattr(thing, "call", False):
            spaces = [network, task, sys.modules[type(network).__module__], torch.nn.functional]
            if not any(inspect.isroutine(getattr(space, path, None)) for space in spaces):
                found.append(f"{path}() is drawn and is no function of the model's file")
            continue
        root = task if part.role == "beside" else network
        if absent(find(root, path)):
            found.append(f"{path} is drawn and does not exist")
            continue
        (beside if root is task else paths).add(path)
        if root is network and "." in path:
            opened.add(path.rpartition(".")[0])
        if isinstance(thing, Part | Line) and isinstance(find(root, path), nn.Module):
            weights = [*find(root, path).parameters(), *find(root, path).buffers()]
            if weights and any(one.requires_grad for one in weights) == part.frozen:
                found.append(f"{path} is drawn {'frozen' if part.frozen else 'as learning'} and is not")
    for part in drawn.parts:
        for stack in (item for item in part.items if isinstance(item, Blocks)):
            path = f"{part.name}.{stack.name}" if part.name else stack.name
            built_stack = find(network, path)
            if not isinstance(built_stack, Stack):
                found.append(f"{path} is drawn as blocks and is none")
                continue
            paths.add(path)
            opened.add(path)
            if len(built_stack) != stack.times:
                found.append(f"{path} is drawn {stack.times} times and built {len(built_stack)} times")
            for block in built_stack:
                drawn_branches = [(branch.name, branch.placement, branch.gate) for branch in stack.branches]
                residuals = [(name, one.placement, one.gate is not None) for name, one in block.items()]
                if residuals != drawn_branches:
                    found.append(f"{path} has the residuals {residuals} and is drawn with {drawn_branches}")
                    break
    for name in children(network):
        if not any(path == name or path.startswith(f"{name}.") for path in paths):
            found.append(f"{name} exists and is not drawn")
    for path in opened:
        module = find(network, path)
        if not isinstance(module, Stack) and isinstance(module, nn.Module) and not path.endswith(("attention", "mlp")):
            found += [
                f"{path}.{name} exists and is not drawn"
                for name in children(module)
                if not any(one == f"{path}.{name}" or one.startswith(f"{path}.{name}.") for one in paths)
            ]
    found += [f"{name} of the task exists and is not drawn" for name in own - beside]
    return found


def batch(size: int, pairs: int = 4) -> dict[str, torch.Tensor]:
    ids = torch.randint(6, 100, (pairs, 9), generator=torch.Generator().manual_seed(0))
    image = torch.randint(0, 256, (pairs, 3, size, size), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return {"image": image, "text": ids, "text_mask": torch.ones_like(ids).bool(), "label": torch.arange(pairs)}


@pytest.mark.parametrize("model", MODELS)
def test_what_is_drawn_exists_and_what_exists_is_drawn(model):
    drawn, network, task = built(model)
    assert complaints(drawn, network, task) == []


@pytest.mark.parametrize("model", MODELS)
def test_the_losses_are_those_of_the_task(model):
    drawn, _, task = built(model)
    with torch.no_grad():
        terms = task(task.prepare(batch(48), torch.Generator().manual_seed(0)))
    assert {part.name for part in drawn.parts if part.role == "loss"} == set(terms)


@pytest.mark.parametrize("model", MODELS)
def test_shapes_on_the_arrows_are_those_of_the_network(model):
    """Tokens and vectors of one picture and a text of 9 words, as the model's own forward gives them."""
    drawn, network, _ = built(model)
    outs = {part.called: part.out.replace("n × ", "9 × ") for part in drawn.parts}
    given, shapes = batch(48), {}

    def note(name: str):
        return lambda module, inputs, out: shapes.__setitem__(name, " × ".join(f"{n:,}" for n in out.shape[1:]))

    drawn_modules = {"tower": "tower", "vision": "vision", "text": "text", "trunk": "trunk", "embedding": "embedding"}
    drawn_modules |= {"cells": "projection", "text tokens": "text", "fused": "fusion", "pair": "match"}
    drawn_modules |= {"image vector": "image_projection", "text vector": "text_projection"}
    drawn_modules |= {"encoder": "encoder", "codebook": "codebook", "decoder": "decoder"}
    drawn_modules |= {"fused image": "image_cross", "fused text": "text_cross"}
    hooks = [
        getattr(network, module).register_forward_hook(note(key))
        for key, module in drawn_modules.items()
        if key in outs and hasattr(network, module)
    ]
    if isinstance(network, BEiT | BEiTClassifier):  # these run the parts of their tower themselves
        key = "tower" if isinstance(network, BEiT) else "vector"
        hooks.append(network.tower.norm.register_forward_hook(note(key)))
    image = given["image"] / 255.0
    with torch.no_grad():
        if model is BEiT:
            network(image, torch.zeros(len(image), 16).bool())
        elif model in (ViT, BEiTClassifier, VisualTokenizer):
            network(image)
        else:
            network(image, given["text"], given["text_mask"])
    for hook in hooks:
        hook.remove()
    assert shapes and shapes == {key: outs[key] for key in shapes}


@pytest.mark.parametrize("model", MODELS)
def test_every_size_has_a_blueprint(model):
    for size in model.Config.SIZES:
        drawn = model.blueprint(size)
        assert (drawn.model, drawn.size) == (model.__name__, size)


def test_parts_that_only_some_sizes_have_are_drawn_where_they_are():
    assert "class_token" in describe(CLIP.blueprint("ViT-B/32"))
    assert "class_token" not in describe(CLIP.blueprint("micro"))
    large = PixelBERT.named("micro", max_pool=True, answers=7)
    drawn = PixelBERT.blueprint("micro", max_pool=True, answers=7)
    assert complaints(drawn, large, PixelBERTTask(large, RATES)) == []
    assert next(part.out for part in drawn.parts if part.key == "cells") == "9 × 128"
    hidden = ViT.named("micro", representation=16)
    assert complaints(ViT.blueprint("micro", representation=16), hidden, ViTTask(hidden)) == []


def altered(drawn: Blueprint, called: str, **changes: object) -> Blueprint:
    parts = tuple(replace(part, **changes) if part.called == called else part for part in drawn.parts)
    return replace(drawn, parts=parts)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda drawn: altered(drawn, "tower", name="trunk", key="tower"), "trunk is drawn and does not exist"),
        (lambda drawn: replace(drawn, parts=drawn.parts[:3]), "head exists and is not drawn"),
        (lambda drawn: altered(drawn, "tower", items=drawn.parts[1].items[1:]), "tower.patches exists and is"),
        (lambda drawn: altered(drawn, "head", frozen=True), "head is drawn frozen and is not"),
        (lambda drawn: altered(drawn, "vector", items=(Line("pol", "", call=True),)), "pol() is drawn and is no"),
        (lambda drawn: altered(drawn, "tower", items=stacked(drawn, times=5)), "drawn 5 times and built 4 times"),
        (lambda drawn: altered(drawn, "tower", items=stacked(drawn, branches=())), "tower.blocks has the residuals"),
    ],
)  # fmt: skip
def test_a_broken_spec_is_told_apart(change, complaint):
    drawn, network, task = built(ViT)
    assert any(complaint in one for one in complaints(change(drawn), network, task))


def stacked(drawn: Blueprint, **changes: object) -> tuple:
    return tuple(replace(one, **changes) if isinstance(one, Blocks) else one for one in drawn.parts[1].items)


def test_a_twin_that_is_not_drawn_is_told():
    drawn, network, task = built(ALBEF)
    bare = altered(drawn, "twin", items=(Line("twin", "follows"),))
    assert sorted(complaints(bare, network, task)) == [
        "image_queue of the task exists and is not drawn",
        "text_queue of the task exists and is not drawn",
    ]


def test_what_changed_each_week_is_what_the_papers_changed():
    def told(new: type, old: type) -> list[str]:
        return [one.path for one in missing_in(old.blueprint("micro"), new.blueprint("micro")) if one.path]

    clip = told(CLIP, ViT)
    assert {"vision.norm_before", "text", "image_projection", "contrastive"} <= set(clip)
    assert not {"vision", "vision.blocks.attention", "vision.norm"} & set(clip)
    pixel = told(PixelBERT, CLIP)
    assert {"trunk", "visual", "blocks.attention", "MLM", "ITM"} <= set(pixel) and "embedding.words" not in pixel
    albef = told(ALBEF, PixelBERT)
    assert {"vision", "fusion.cross", "ITC", "ITM", "twin"} <= set(albef)
    assert not {"embedding", "text.attention", "fusion.attention", "fusion.mlp", "word", "match", "MLM"} & set(albef)
    assert "trunk" in gone_from(PixelBERT.blueprint("micro"), ALBEF.blueprint("micro"))
    beit = told(BEiT, ALBEF)
    assert {"mask_token", "relative", "tokenizer", "head", "MIM"} <= set(beit)
    assert not {"tower.patches", "tower.norm"} & set(beit)
    assert {"embedding", "fusion.cross", "twin"} <= set(gone_from(ALBEF.blueprint("micro"), BEiT.blueprint("micro")))
    mask = told(MaskVLM, ALBEF)
    assert {"mask_token", "image_cross.cross", "decoder.cross", "pixels", "MIM"} <= set(mask)
    assert not {"vision", "embedding", "word", "image_projection", "temperature"} & set(mask)
    assert {"twin", "image_queue"} <= set(gone_from(ALBEF.blueprint("micro"), MaskVLM.blueprint("micro")))


@pytest.mark.parametrize("model", MODELS)
def test_nothing_is_new_since_itself(model):
    drawn = model.blueprint("micro")
    assert missing_in(drawn, drawn) == [] and gone_from(drawn, drawn) == []
    assert describe(drawn, drawn).endswith(f"New since {model.__name__}: nothing.")


def test_the_words_say_residuals_in_their_order():
    told = describe(ALBEF.blueprint("micro"))
    assert "norm(x + attention(x)) with self-attention, then norm(x + cross(x)) with cross-attention" in told
    assert "into cross" in told
    gated = Blueprint("Toy", "s", (Part("", "all", items=(Blocks("b", 2, (Branch("a", "attention", gate=True),)),)),))
    assert "b, 2 times: x + tanh(gate) a(norm(x)) with attention" in describe(gated)


def test_arrows_from_nowhere_and_names_used_twice_are_refused():
    with pytest.raises(ValueError, match="Toy: head reads 'tower', which is not drawn before it; name one of image"):
        Blueprint("Toy", "s", (Part("image", ""), Part("head", "", inputs=(Arrow("tower"),))))
    with pytest.raises(ValueError, match="Toy: two parts are called 'head'; give one another key"):
        Blueprint("Toy", "s", (Part("head", ""), Part("head", "")))
