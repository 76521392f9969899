"""transformers' CLIP with random weights, saved by it, loaded by us, and back."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tinyvlm.interop.hf import clip_from_hf, clip_to_hf
from tinyvlm.models import CLIP


def case(vision: dict, text: dict, embedding: int) -> dict:
    sizes = dict(hidden_size=16, num_attention_heads=2, num_hidden_layers=2, intermediate_size=24)
    words = dict(bos_token_id=0, pad_token_id=1)
    return dict(
        vision_config={**sizes, "image_size": 12, "patch_size": 4, **vision},
        text_config={**sizes, "vocab_size": 23, "max_position_embeddings": 9, "eos_token_id": 22, **words, **text},
        projection_dim=embedding,
    )


CASES = {
    "as published, small": case({}, {}, 8),
    "end token amid the vocabulary": case({"num_attention_heads": 4}, {"eos_token_id": 7, "vocab_size": 31}, 5),
    "end token 2, the largest id instead": case({"num_hidden_layers": 1}, {"eos_token_id": 2, "vocab_size": 19}, 8),
    "two activations, two eps": case(
        {"hidden_act": "relu", "layer_norm_eps": 1e-3}, {"hidden_act": "gelu_new", "layer_norm_eps": 1e-6}, 12
    ),
    "grey pictures, short context": case(
        {"num_channels": 1, "image_size": 10, "patch_size": 5, "hidden_size": 24, "num_attention_heads": 3},
        {"max_position_embeddings": 5, "num_attention_heads": 1, "num_hidden_layers": 3},
        3,
    ),
    "plain gelu, uneven depths": case(
        {"hidden_act": "gelu", "num_hidden_layers": 12, "hidden_size": 8},
        {"hidden_act": "gelu", "num_hidden_layers": 1, "hidden_size": 20, "intermediate_size": 50},
        6,
    ),
}
MICRO = CLIP.Config.named("micro")
PAPER_SHAPED = MICRO.replace(
    vision=MICRO.vision.replace(class_token=True), text=MICRO.text.replace(causal=True),
    image_pool="first", text_pool="last",
)  # fmt: skip
every_case = pytest.mark.parametrize("values", CASES.values(), ids=CASES.keys())


def near(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def theirs_of(transformers, shake, values: dict):
    return shake(transformers.CLIPModel(transformers.CLIPConfig(**values)), 0.2)


def batch(values: dict) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pictures, texts of several lengths padded by ids that are no end token, and the mask of real tokens."""
    vision, text = values["vision_config"], values["text_config"]
    size, length, vocabulary = vision["image_size"], text["max_position_embeddings"], text["vocab_size"]
    largest = text["eos_token_id"] == 2
    end = vocabulary - 1 if largest else text["eos_token_id"]
    ids = torch.randint(3, vocabulary - 1, (4, length))
    if not largest and end < vocabulary - 1:
        ids = torch.where(ids == end, end + 1, ids)  # larger ids than the end token occur in the text
        assert (ids > end).any()
    mask = torch.zeros(4, length, dtype=torch.bool)
    for row, place in enumerate((length - 1, length - 2, 2, 1)):
        ids[row, place], mask[row, : place + 1] = end, True
        ids[row, place + 1 :] = 1
    return torch.randn(3, vision.get("num_channels", 3), size, size), ids, mask


def same_outputs(ours: CLIP, theirs, values: dict) -> None:
    image, ids, mask = batch(values)
    expected = theirs(input_ids=ids, pixel_values=image, attention_mask=mask.long())
    for out in (ours(image, ids, mask), ours(image, ids)):
        near(out.image, expected.image_embeds)
        near(out.text, expected.text_embeds)
        near(out.logits, expected.logits_per_image)
        near(out.logits.T, expected.logits_per_text)
    near(out.scale, theirs.logit_scale.exp())
    near(ours.encode_image(image), expected.image_embeds)
    near(ours.encode_text(ids, mask), expected.text_embeds)
    # Their picture's tokens come before the last norm.
    tokens = theirs.vision_model.post_layernorm(expected.vision_model_output.last_hidden_state)
    near(ours.vision(image), tokens)
    near(ours.text(ids, mask)[mask], expected.text_model_output.last_hidden_state[mask])
    assert expected.logits_per_image.std() > 0.01, "a degenerate case proves nothing"


@every_case
@torch.no_grad()
def test_model_from_their_files(transformers, shake, values, tmp_path):
    theirs = theirs_of(transformers, shake, values)
    theirs.save_pretrained(tmp_path)
    ours = CLIP.from_pretrained(tmp_path)
    same_outputs(ours, theirs, values)
    assert ours.count() == sum(parameter.numel() for parameter in theirs.parameters())


@every_case
@torch.no_grad()
def test_names_in_memory_load_too_and_old_buffers_are_left_out(transformers, shake, values):
    theirs = theirs_of(transformers, shake, values)
    state = {**theirs.state_dict(), "text_model.embeddings.position_ids": torch.arange(9)[None]}
    same_outputs(CLIP.from_foreign(state, theirs.config.to_dict()), theirs, values)


def export(model: CLIP, folder) -> None:
    state, config = clip_to_hf(model.state_dict(), model.config.to_dict())
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))


@every_case
@torch.no_grad()
def test_export_gives_their_class_the_same_outputs(transformers, shake, values, tmp_path):
    theirs = theirs_of(transformers, shake, values)
    ours = CLIP.from_foreign(theirs.state_dict(), theirs.config.to_dict())
    export(ours, tmp_path)
    back, report = transformers.CLIPModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    same_outputs(ours, back.eval(), values)


@torch.no_grad()
def test_export_of_a_model_of_ours(transformers, shake, tmp_path):
    ours = shake(CLIP(PAPER_SHAPED), 0.1)
    export(ours, tmp_path)
    back = transformers.CLIPModel.from_pretrained(tmp_path).eval()
    image, ids = torch.randn(2, 3, 48, 48), torch.randint(1, 4096, (3, 40))
    ids[:, 30] = ours.config.end_id
    near(ours(image, ids).logits, back(input_ids=ids, pixel_values=image).logits_per_image)


@every_case
def test_state_and_configuration_survive_the_round_trip(transformers, shake, values, tmp_path):
    theirs_of(transformers, shake, values).save_pretrained(tmp_path)
    state, config = load_file(tmp_path / "model.safetensors"), json.loads((tmp_path / "config.json").read_text())
    ours, fields = clip_from_hf(state, config)
    assert set(ours) == set(CLIP.from_pretrained(tmp_path).state_dict())
    again, written = clip_to_hf(ours, CLIP.Config.from_dict(fields).to_dict())
    assert set(again) == set(state)
    assert all(torch.equal(again[name], state[name]) for name in state)
    for part in ("vision_config", "text_config"):
        assert written.pop(part).items() <= config[part].items()
    assert written["projection_dim"] == config["projection_dim"] and written["model_type"] == config["model_type"]


def test_fields_that_a_file_leaves_out_have_their_defaults(transformers):
    theirs = transformers.CLIPConfig()
    _, fields = clip_from_hf({}, {"model_type": "clip"})
    fields.pop("end_id")
    ours = CLIP.Config.from_dict(fields)
    published = CLIP.Config.named("ViT-B/32")
    # How tables were initialised is not for a checkpoint to say.
    assert ours.vision == published.vision.replace(position_std=ours.vision.position_std)
    assert ours.text == published.text
    assert ours.vision.eps == theirs.vision_config.layer_norm_eps and ours.embedding == theirs.projection_dim


def test_the_first_published_files_end_texts_at_the_largest_id():
    _, fields = clip_from_hf({}, {"text_config": {"eos_token_id": 2}})
    assert fields["end_id"] is None
    _, fields = clip_from_hf({}, {"text_config": {"eos_token_id": 5}})
    assert fields["end_id"] == 5
    _, fields = clip_from_hf({}, {"text_config": None, "vision_config": None})
    assert fields["end_id"] == 49407


@pytest.mark.parametrize(
    "config",
    [
        PAPER_SHAPED.replace(image_pool="mean", vision=PAPER_SHAPED.vision.replace(class_token=False)),
        PAPER_SHAPED.replace(image_pool="mean"),
        PAPER_SHAPED.replace(text_pool="mean"),
        PAPER_SHAPED.replace(text=PAPER_SHAPED.text.replace(causal=False)),
        PAPER_SHAPED.replace(vision=PAPER_SHAPED.vision.replace(class_token=False)),
        PAPER_SHAPED.replace(vision=PAPER_SHAPED.vision.replace(norm_before=False)),
        PAPER_SHAPED.replace(vision=PAPER_SHAPED.vision.replace(positions=False)),
        PAPER_SHAPED.replace(vision=PAPER_SHAPED.vision.replace(patch_bias=True)),
        PAPER_SHAPED.replace(vision=PAPER_SHAPED.vision.replace(qkv_bias=False)),
    ],
    ids=[
        "mean of patches",
        "mean image",
        "mean text",
        "both ways",
        "no class token",
        "no norm",
        "no positions",
        "patch bias",
        "no q bias",
    ],
)
def test_what_their_class_cannot_express_is_not_exported(config):
    model = CLIP(config)
    with pytest.raises(ValueError, match=r"CLIPModel knows .* export a paper-shaped one"):
        clip_to_hf(model.state_dict(), config.to_dict())


def test_a_vit_checkpoint_is_no_clip(transformers, tmp_path):
    small = dict(hidden_size=8, num_attention_heads=1, num_hidden_layers=1, intermediate_size=8, image_size=8)
    transformers.ViTModel(transformers.ViTConfig(**small, patch_size=4)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is of type 'vit'; CLIP can load tinyvlm, clip, open_clip"):
        CLIP.from_pretrained(tmp_path)


OLDER = {
    "heads that only the older entry has": ({"text_config_dict": {"num_attention_heads": 4}}, ["num_attention_heads"]),
    "two opinions on an activation": ({"vision_config_dict": {"hidden_act": "relu"}}, []),
    "defaults of what it leaves out": ({"vision_config_dict": {}, "text_config_dict": {}}, []),
    "an older entry alone": ({"text_config_dict": {"layer_norm_eps": 1e-3, "hidden_act": "gelu"}}, None),
}


@pytest.mark.parametrize(("older", "left_out"), OLDER.values(), ids=OLDER.keys())
def test_older_entries_are_merged_as_transformers_does(transformers, shake, tmp_path, older, left_out):
    """Sizes stand in the older entry too, where they are not the library's defaults, or no file would fit."""
    values = case({"hidden_act": "gelu", "layer_norm_eps": 1e-3}, {"hidden_act": "relu", "layer_norm_eps": 1e-3}, 8)
    theirs_of(transformers, shake, values).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    odd = ("hidden_act", "layer_norm_eps", "num_attention_heads")
    for name, fields in older.items():
        part = name.removesuffix("_dict")
        sizes = {key: value for key, value in values[part].items() if key not in odd}
        config[name] = {**sizes, "num_attention_heads": 2, **fields}
        if left_out is None:
            del config[part]
        for key in left_out or ():
            del config[part][key]
    (tmp_path / "config.json").write_text(json.dumps(config))
    theirs = transformers.CLIPModel.from_pretrained(tmp_path).eval()
    same_outputs(CLIP.from_pretrained(tmp_path), theirs, values)
