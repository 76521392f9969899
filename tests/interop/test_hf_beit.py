"""transformers' BEiT with random weights, saved by it, loaded by us: every position scheme, both heads."""

import pytest
import torch

from tinyvlm.interop.beit import beit_from_hf
from tinyvlm.models.beit import BEiT, BEiTClassifier

POSITIONS = {
    "none": {},
    "absolute": {"use_absolute_position_embeddings": True},
    "shared": {"use_shared_relative_position_bias": True},
    "layers": {"use_relative_position_bias": True},
    "absolute and shared": {"use_absolute_position_embeddings": True, "use_shared_relative_position_bias": True},
    "absolute and layers": {"use_absolute_position_embeddings": True, "use_relative_position_bias": True},
}
SHAPES = {
    "three heads": dict(hidden_size=24, num_attention_heads=3, num_hidden_layers=2, intermediate_size=40,
                        image_size=16, patch_size=4, layer_norm_eps=1e-6),
    "no LayerScale, relu, grey": dict(hidden_size=16, num_attention_heads=2, num_hidden_layers=3, intermediate_size=12,
                                      image_size=9, patch_size=3, num_channels=1, hidden_act="relu",
                                      layer_scale_init_value=0.0),
    "eleven layers": dict(hidden_size=8, num_attention_heads=1, num_hidden_layers=11, intermediate_size=16,
                          image_size=10, patch_size=5, layer_norm_eps=1e-3, layer_scale_init_value=1e-5),
}  # fmt: skip
every_scheme = pytest.mark.parametrize("positions", POSITIONS.values(), ids=POSITIONS.keys())
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


def near(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def pictures(values: dict) -> tuple[torch.Tensor, torch.Tensor]:
    size = values["image_size"]
    hidden = torch.rand(3, (size // values["patch_size"]) ** 2) < 0.4
    hidden[:, 0], hidden[:, 1] = True, False
    return torch.randn(3, values.get("num_channels", 3), size, size), hidden


@every_shape
@every_scheme
@torch.no_grad()
def test_codes_of_hidden_patches_from_their_files(transformers, shake, positions, shape, tmp_path):
    values = {**shape, **positions, "use_mask_token": True, "vocab_size": 30}
    theirs = shake(transformers.BeitForMaskedImageModeling(transformers.BeitConfig(**values)), 0.3)
    theirs.save_pretrained(tmp_path)
    ours, (image, hidden) = BEiT.from_pretrained(tmp_path), pictures(values)
    expected = theirs(image, bool_masked_pos=hidden).logits[hidden]
    near(ours(image, hidden).logits, expected)
    assert expected.std() > 0.1
    assert ours.count() == sum(parameter.numel() for parameter in theirs.parameters())
    memory = BEiT.from_foreign(theirs.state_dict(), theirs.config.to_dict())
    near(memory(image, hidden).logits, expected)


@every_shape
@every_scheme
@torch.no_grad()
def test_classes_from_their_files(transformers, shake, positions, shape, tmp_path):
    values = {**shape, **positions, "num_labels": 7}
    theirs = shake(transformers.BeitForImageClassification(transformers.BeitConfig(**values)), 0.3)
    theirs.save_pretrained(tmp_path)
    ours, (image, _) = BEiTClassifier.from_pretrained(tmp_path), pictures(values)
    expected = theirs(image, output_hidden_states=True)
    out = ours(image)
    near(out.logits, expected.logits)
    near(out.tokens, expected.hidden_states[-1])
    assert expected.logits.std() > 0.05
    assert ours.count() == sum(parameter.numel() for parameter in theirs.parameters())


@torch.no_grad()
def test_the_bias_matters_in_what_was_compared(transformers, shake):
    values = {**SHAPES["three heads"], **POSITIONS["layers"], "num_labels": 7}
    theirs = shake(transformers.BeitForImageClassification(transformers.BeitConfig(**values)), 0.3)
    ours, (image, _) = BEiTClassifier.from_foreign(theirs.state_dict(), theirs.config.to_dict()), pictures(values)
    before = ours(image).logits
    for one in ours.relative:
        torch.nn.init.zeros_(one.table)
    assert (ours(image).logits - before).abs().max() > 0.01


@pytest.mark.parametrize(
    ("changes", "head", "words"),
    [
        ({"use_relative_position_bias": True, "use_shared_relative_position_bias": True}, "codes", "knows either"),
        ({"use_mean_pooling": False}, "classes", "reads the class token"),
        ({"use_mask_token": False}, "codes", "no mask token"),
        ({"hidden_act": "tanh"}, "codes", "the activation 'tanh'"),
    ],
)
def test_what_cannot_be_expressed_is_refused(changes, head, words):
    with pytest.raises(ValueError, match=words):
        beit_from_hf({}, {"use_mask_token": True, **changes}, head)


def test_another_models_checkpoint_is_refused(transformers, shake, tmp_path):
    values = {**SHAPES["three heads"], "num_labels": 7}
    shake(transformers.BeitForImageClassification(transformers.BeitConfig(**values)), 0.3).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no mask token"):
        BEiT.from_pretrained(tmp_path)
