"""open_clip's CLIP (also the shape of OpenAI's own files) with random weights, to ours and back."""

import json

import pytest
import torch
from safetensors.torch import save_file

from tinyvlm.interop.open_clip import _ratio, clip_from_open_clip, clip_to_open_clip
from tinyvlm.models import CLIP


def case(vision: dict, text: dict, embedding: int = 8, quick_gelu: bool = False) -> dict:
    return {
        "embed_dim": embedding,
        "quick_gelu": quick_gelu,
        "vision_cfg": {"image_size": 12, "patch_size": 4, "width": 16, "layers": 2, "head_width": 8, **vision},
        "text_cfg": {"context_length": 9, "vocab_size": 23, "width": 16, "heads": 2, "layers": 2, **text},
    }


CASES = {
    "quick_gelu": case({}, {}, quick_gelu=True),
    "gelu": case({}, {}),
    "uneven feed-forwards": case({"mlp_ratio": 2.3, "width": 14, "head_width": 7}, {"mlp_ratio": 1.7, "width": 18}, 5),
    "eps, and an end token amid the vocabulary": case(
        {"norm_kwargs": {"eps": 1e-3}}, {"norm_kwargs": {"eps": 1e-6}, "pool_type": "eos", "eos_id": 7}
    ),
    "twelve layers, one head, short context": case(
        {"layers": 12, "head_width": 16}, {"heads": 1, "layers": 1, "context_length": 5}, 3, quick_gelu=True
    ),
    "pairs for sides": case({"image_size": (10, 10), "patch_size": (5, 5)}, {"width": 24, "heads": 3, "layers": 3}),
}
MICRO = CLIP.Config.named("micro")
PAPER_SHAPED = MICRO.replace(
    vision=MICRO.vision.replace(class_token=True), text=MICRO.text.replace(causal=True),
    image_pool="first", text_pool="last",
)  # fmt: skip
every_case = pytest.mark.parametrize("config", CASES.values(), ids=CASES.keys())


def near(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def load(config: dict, theirs) -> CLIP:
    return CLIP.from_foreign(theirs.state_dict(), {"model_type": "open_clip", **config})


def same_outputs(ours: CLIP, theirs, config: dict) -> None:
    text = config["text_cfg"]
    size, length, vocabulary = ours.config.vision.image_size, text["context_length"], text["vocab_size"]
    end = text.get("eos_id", vocabulary - 1)
    image, ids = torch.randn(3, 3, size, size), torch.randint(1, vocabulary - 1, (4, length))
    ids = torch.where(ids == end, end + 1, ids)
    mask = torch.zeros(4, length, dtype=torch.bool)
    for row, place in enumerate((length - 1, length - 2, 2, 1)):
        ids[row, place], ids[row, place + 1 :], mask[row, : place + 1] = end, 0, True
    expected = [theirs.encode_image(image, normalize=True), theirs.encode_text(ids, normalize=True)]
    for out in (ours(image, ids), ours(image, ids, mask)):
        near(out.image, expected[0])
        near(out.text, expected[1])
        near(out.logits, theirs.logit_scale.exp() * expected[0] @ expected[1].T)
    assert out.logits.std() > 0.01, "a degenerate case proves nothing"


@every_case
@torch.no_grad()
def test_their_model_through_our_class(open_clip, shake, config):
    theirs = shake(open_clip.CLIP(**config), 0.2)
    ours = load(config, theirs)
    same_outputs(ours, theirs, config)
    assert ours.count() == sum(parameter.numel() for parameter in theirs.parameters())


@every_case
@torch.no_grad()
def test_export_loads_strictly_into_their_class(open_clip, shake, config):
    theirs = shake(open_clip.CLIP(**config), 0.2)
    ours = load(config, theirs)
    state, written = clip_to_open_clip(ours.state_dict(), ours.config.to_dict())
    assert written.pop("model_type") == "open_clip"
    back = open_clip.CLIP(**written)
    back.load_state_dict(state, strict=True)
    same_outputs(ours, back.eval(), config)
    original = theirs.state_dict()
    assert set(state) == set(original) and all(torch.equal(state[name], original[name]) for name in state)
    assert load(written, back).config == ours.config


@torch.no_grad()
def test_export_of_a_model_of_ours(open_clip, shake):
    # A ratio of widths that dividing and multiplying again rounds down.
    vision = PAPER_SHAPED.vision.replace(width=49, heads=7, hidden=64, eps=1e-4)
    ours = shake(CLIP(PAPER_SHAPED.replace(vision=vision, end_id=5)), 0.1)
    state, written = clip_to_open_clip(ours.state_dict(), ours.config.to_dict())
    written.pop("model_type")
    back = open_clip.CLIP(**written).eval()
    back.load_state_dict(state, strict=True)
    image, ids = torch.randn(2, 3, 48, 48), torch.randint(6, 4096, (3, 40))
    ids[:, 20] = 5
    near(ours.encode_image(image), back.encode_image(image, normalize=True))
    near(ours.encode_text(ids), back.encode_text(ids, normalize=True))


def test_a_hub_folder_of_theirs_loads(open_clip, shake, tmp_path):
    """As their repositories look: open_clip's own configuration and weights, transformers' files beside them."""
    config = CASES["quick_gelu"]
    theirs = shake(open_clip.CLIP(**config))
    save_file({name: value.contiguous() for name, value in theirs.state_dict().items()},
              tmp_path / "open_clip_model.safetensors")  # fmt: skip
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    same_outputs(CLIP.from_pretrained(tmp_path), theirs, config)


@pytest.mark.parametrize(("width", "hidden"), [(w, h) for w in (49, 98, 103, 107) for h in (1, 2, w - 1, 3 * w + 2)])
def test_their_rounding_gives_back_every_feed_forward_width(width, hidden):
    assert int(width * _ratio(hidden, width)) == hidden


def test_additions_of_openais_own_files_are_left_out(open_clip):
    config = CASES["quick_gelu"]
    state = open_clip.CLIP(**config).state_dict()
    extras = {name: torch.tensor(9) for name in ("input_resolution", "context_length", "vocab_size")}
    ours, _ = clip_from_open_clip({**state, **extras}, config)
    assert set(ours) == set(CLIP.from_foreign(state, {"model_type": "open_clip", **config}).state_dict())


def test_fields_that_a_file_leaves_out_have_their_defaults(open_clip):
    _, fields = clip_from_open_clip({}, {"embed_dim": 512, "vision_cfg": {}, "text_cfg": {}})
    ours, vision, text = CLIP.Config.from_dict(fields), open_clip.CLIPVisionCfg(), open_clip.CLIPTextCfg()
    assert ours.vision.image_size == vision.image_size and ours.vision.patch == vision.patch_size
    assert ours.vision.heads == vision.width // vision.head_width and ours.vision.layers == vision.layers
    assert (ours.text.context, ours.text.vocabulary) == (text.context_length, text.vocab_size)
    assert (ours.text.width, ours.text.heads, ours.text.layers) == (text.width, text.heads, text.layers)
    assert ours.vision.activation == "gelu" and ours.end_id is None


@pytest.mark.parametrize(
    ("vision", "text", "message"),
    [
        ({"pool_type": "avg"}, {}, "pool_type 'avg'"),
        ({"no_ln_pre": True}, {}, "no_ln_pre True"),
        ({"attentional_pool": True}, {}, "attentional_pool True"),
        ({"ls_init_value": 0.1}, {}, "ls_init_value 0.1"),
        ({"pos_embed_type": "sin_cos_2d"}, {}, "pos_embed_type 'sin_cos_2d'"),
        ({"timm_model_name": "convnext"}, {}, "timm_model_name 'convnext'"),
        ({"layers": [3, 4, 6, 3]}, {}, "ResNet"),
        ({"image_size": (12, 8)}, {}, r"image_size \[12, 8\]; the core reads square"),
        ({}, {"no_causal_mask": True}, "no_causal_mask True"),
        ({}, {"embed_cls": True}, "embed_cls True"),
        ({}, {"pool_type": "first"}, "pool_type 'first'"),
        ({}, {"proj_type": "none"}, "proj_type 'none'"),
        ({}, {"hf_model_name": "roberta-base"}, "hf_model_name"),
    ],
)
def test_what_the_core_cannot_express_is_refused(vision, text, message):
    with pytest.raises(ValueError, match=message):
        clip_from_open_clip({}, case(vision, text))


def test_a_logit_bias_is_refused():
    with pytest.raises(ValueError, match="init_logit_bias -10"):
        clip_from_open_clip({}, {**case({}, {}), "init_logit_bias": -10})


@pytest.mark.parametrize(
    "config",
    [
        PAPER_SHAPED.replace(image_pool="mean", vision=PAPER_SHAPED.vision.replace(class_token=False)),
        PAPER_SHAPED.replace(text=PAPER_SHAPED.text.replace(causal=False)),
        PAPER_SHAPED.replace(vision=PAPER_SHAPED.vision.replace(channels=1)),
        PAPER_SHAPED.replace(vision=PAPER_SHAPED.vision.replace(positions=False)),
        PAPER_SHAPED.replace(vision=PAPER_SHAPED.vision.replace(patch_bias=True)),
        PAPER_SHAPED.replace(vision=PAPER_SHAPED.vision.replace(activation="relu")),
        PAPER_SHAPED.replace(text=PAPER_SHAPED.text.replace(activation="gelu")),
    ],
    ids=["mean of patches", "both ways", "grey", "no positions", "patch bias", "relu", "two activations"],
)
def test_what_their_class_cannot_express_is_not_exported(config):
    model = CLIP(config)
    with pytest.raises(ValueError, match=r"open_clip knows .* export a paper-shaped one"):
        clip_to_open_clip(model.state_dict(), config.to_dict())


def test_a_file_without_its_towers_says_so():
    with pytest.raises(ValueError, match="no whole 'open_clip' checkpoint: it lacks 'vision_cfg'"):
        CLIP.from_foreign({}, {"model_type": "open_clip", "embed_dim": 4})
