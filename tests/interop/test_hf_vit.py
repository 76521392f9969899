"""transformers' ViT with random weights, saved by it, loaded by us, and back."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tinyvlm.interop.hf import vit_from_hf, vit_to_hf
from tinyvlm.models import ViT

CASES = {
    "three heads": dict(hidden_size=24, num_attention_heads=3, num_hidden_layers=2, intermediate_size=40,
                        image_size=16, patch_size=4, num_labels=5),
    "no q, k, v biases, wide eps, relu": dict(hidden_size=20, num_attention_heads=2, num_hidden_layers=2,
                                              intermediate_size=12, image_size=12, patch_size=4, num_labels=7,
                                              qkv_bias=False, layer_norm_eps=1e-3, hidden_act="relu"),
    "grey pictures, gelu_new": dict(hidden_size=12, num_attention_heads=1, num_hidden_layers=1, intermediate_size=48,
                                    image_size=10, patch_size=5, num_channels=1, hidden_act="gelu_new", num_labels=3),
    "a single patch, eleven layers": dict(hidden_size=16, num_attention_heads=4, num_hidden_layers=11,
                                          intermediate_size=16, image_size=8, patch_size=8, num_labels=2),
    "four channels, silu": dict(hidden_size=18, num_attention_heads=3, num_hidden_layers=2, intermediate_size=30,
                                image_size=12, patch_size=3, num_channels=4, hidden_act="silu", num_labels=4),
    "quick_gelu, one label": dict(hidden_size=16, num_attention_heads=2, num_hidden_layers=3, intermediate_size=24,
                                  image_size=14, patch_size=7, hidden_act="quick_gelu", layer_norm_eps=1e-6,
                                  num_labels=1),
}  # fmt: skip
every_case = pytest.mark.parametrize("values", CASES.values(), ids=CASES.keys())


def near(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def pictures(values: dict) -> torch.Tensor:
    size = values["image_size"]
    return torch.randn(3, values.get("num_channels", 3), size, size)


def theirs_of(transformers, shake, values: dict):
    return shake(transformers.ViTForImageClassification(transformers.ViTConfig(**values)), 0.2)


@every_case
@torch.no_grad()
def test_classifier_from_their_files(transformers, shake, values, tmp_path):
    theirs, image = theirs_of(transformers, shake, values), pictures(values)
    theirs.save_pretrained(tmp_path)
    ours = ViT.from_pretrained(tmp_path)
    out, tokens = ours(image), theirs.vit(image).last_hidden_state
    near(out.tokens, tokens)
    near(out.features, tokens[:, 0])
    near(out.logits, theirs(image).logits)
    assert out.logits.std() > 0.01 or values["num_labels"] == 1
    assert ours.count() == sum(parameter.numel() for parameter in theirs.parameters())


@every_case
@torch.no_grad()
def test_headless_model_with_its_pooler_from_their_files(transformers, shake, values, tmp_path):
    config = transformers.ViTConfig(**values, pooler_output_size=9)
    theirs, image = shake(transformers.ViTModel(config), 0.2), pictures(values)
    theirs.save_pretrained(tmp_path)
    ours = ViT.from_pretrained(tmp_path)
    out, expected = ours(image), theirs(image)
    near(out.tokens, expected.last_hidden_state)
    near(out.features, expected.pooler_output)
    assert out.logits is None and ours.config.representation == 9


@torch.no_grad()
def test_headless_model_without_pooler(transformers, shake, tmp_path):
    values = CASES["three heads"]
    theirs = shake(transformers.ViTModel(transformers.ViTConfig(**values), add_pooling_layer=False), 0.2)
    image = pictures(values)
    theirs.save_pretrained(tmp_path)
    near(ViT.from_pretrained(tmp_path)(image).features, theirs(image).last_hidden_state[:, 0])


@every_case
@torch.no_grad()
def test_names_in_memory_load_too(transformers, shake, values):
    theirs, image = theirs_of(transformers, shake, values), pictures(values)
    ours = ViT.from_foreign(theirs.state_dict(), theirs.config.to_dict())
    near(ours(image).logits, theirs(image).logits)
    base = ViT.from_foreign(theirs.vit.state_dict(), theirs.config.to_dict())
    near(base(image).tokens, theirs.vit(image).last_hidden_state)


def export(model: ViT, folder) -> None:
    state, config = vit_to_hf(model.state_dict(), model.config.to_dict())
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))


@every_case
@torch.no_grad()
def test_export_gives_their_class_the_same_outputs(transformers, shake, values, tmp_path):
    theirs, image = theirs_of(transformers, shake, values), pictures(values)
    ours = ViT.from_foreign(theirs.state_dict(), theirs.config.to_dict())
    export(ours, tmp_path)
    back, report = transformers.ViTForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    near(back.eval()(image).logits, ours(image).logits)
    assert back.config.num_labels == values["num_labels"]


@torch.no_grad()
def test_export_of_a_model_of_ours(transformers, shake, tmp_path):
    ours = shake(ViT.named("micro", classes=6), 0.1)
    image = torch.randn(2, 3, 48, 48)
    export(ours, tmp_path)
    near(transformers.ViTForImageClassification.from_pretrained(tmp_path)(image).logits, ours(image).logits)


@torch.no_grad()
def test_export_without_a_head_is_their_headless_class(transformers, shake, tmp_path):
    ours = shake(ViT.named("micro", classes=0, representation=9), 0.1)
    image = torch.randn(2, 3, 48, 48)
    export(ours, tmp_path)
    back, report = transformers.ViTModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    near(back(image).pooler_output, ours(image).features)


@every_case
def test_state_and_configuration_survive_the_round_trip(transformers, shake, values, tmp_path):
    theirs = theirs_of(transformers, shake, values)
    theirs.save_pretrained(tmp_path)
    state, config = load_file(tmp_path / "model.safetensors"), json.loads((tmp_path / "config.json").read_text())
    ours, fields = vit_from_hf(state, config)
    assert set(ours) == set(ViT.from_pretrained(tmp_path).state_dict())
    again, written = vit_to_hf(ours, ViT.Config.from_dict(fields).to_dict())
    assert set(again) == set(state)
    assert all(torch.equal(again[name], state[name]) for name in state)
    for name, value in written.items():
        if name in config:
            assert value == config[name], name


def test_fields_that_a_file_leaves_out_have_their_defaults(transformers):
    default = transformers.ViTConfig()
    theirs = transformers.ViTForImageClassification(transformers.ViTConfig(**CASES["three heads"]))
    _, fields = vit_from_hf(theirs.state_dict(), {"model_type": "vit"})
    tower = fields["tower"]
    assert (tower["width"], tower["layers"], tower["heads"], tower["hidden"]) == (768, 12, 12, 3072)
    assert (tower["eps"], tower["image_size"], tower["patch"]) == (
        default.layer_norm_eps, default.image_size, default.patch_size
    )  # fmt: skip
    assert tower["activation"] == default.hidden_act and tower["qkv_bias"] and tower["channels"] == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "mish"}, "activation 'mish'; the core knows gelu"),
        ({"image_size": [16, 8]}, r"image_size \[16, 8\]; the core reads square"),
        ({"patch_size": [4, 2]}, r"patch_size \[4, 2\]"),
    ],
)
def test_what_the_core_does_not_know_is_named(transformers, changes, message):
    theirs = transformers.ViTForImageClassification(transformers.ViTConfig(**CASES["three heads"]))
    with pytest.raises(ValueError, match=message):
        ViT.from_foreign(theirs.state_dict(), {**theirs.config.to_dict(), **changes})


def test_square_pairs_are_numbers(transformers):
    theirs = transformers.ViTForImageClassification(transformers.ViTConfig(**CASES["three heads"]))
    ours = ViT.from_foreign(theirs.state_dict(), {**theirs.config.to_dict(), "image_size": [16, 16]})
    assert ours.config.tower.image_size == 16


def test_another_pooler_activation_is_refused(transformers):
    theirs = transformers.ViTModel(transformers.ViTConfig(**CASES["three heads"], pooler_act="relu"))
    with pytest.raises(ValueError, match="pools with 'relu'"):
        ViT.from_foreign(theirs.state_dict(), theirs.config.to_dict())


@pytest.mark.parametrize(
    "changes",
    [
        {"pool": "mean"},
        {"representation": 9},
        {"tower": ViT.Config.named("micro").tower.replace(patch_bias=False)},
        {"tower": ViT.Config.named("micro").tower.replace(norm_before=True)},
        {"tower": ViT.Config.named("micro").tower.replace(positions=False)},
        {"pool": "mean", "tower": ViT.Config.named("micro").tower.replace(class_token=False)},
    ],
    ids=str,
)
def test_what_their_class_cannot_express_is_not_exported(changes):
    model = ViT.named("micro", **changes)
    with pytest.raises(ValueError, match=r"transformers' ViT knows .* export a paper-shaped one"):
        vit_to_hf(model.state_dict(), model.config.to_dict())


def test_half_a_checkpoint_names_what_it_lacks(transformers):
    theirs = transformers.ViTForImageClassification(transformers.ViTConfig(**CASES["three heads"]))
    state = theirs.state_dict()
    with pytest.raises(ValueError, match=r"lacks 'tower\.class_token'"):
        ViT.from_foreign({key: value for key, value in state.items() if "cls" not in key}, theirs.config.to_dict())
    del state["vit.layers.1.mlp.fc1.weight"]
    with pytest.raises(ValueError, match=r"lacks tower.blocks.1.mlp.branch.up.weight. Is it another model"):
        ViT.from_foreign(state, theirs.config.to_dict())
