"""`transformers` checkpoints of ViT and CLIP, to and from ours (names as in transformers 4 and 5).

Only what differs is written down: names, a few shapes, and the configuration's fields.
"""

from typing import Any

from tinyvlm.interop.fields import require, side
from tinyvlm.interop.renaming import Renaming, State

Values = dict[str, Any]

# transformers' names of activations, and ours.
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "silu": "silu",
}

VIT_OUTER = [
    ("tower.class_token", "vit.embeddings.cls_token"),
    ("tower.positions.weight", "vit.embeddings.position_embeddings"),
    ("tower.patches", "vit.embeddings.patch_embeddings.projection"),
    ("tower.norm", "vit.layernorm"),
    ("representation.0", "vit.pooler.dense"),
    ("head", "classifier"),
]
# The names that files carry (transformers 4, and 5 when saving), then those of transformers 5 in memory.
VIT_BLOCK = [
    ("attention.branch.q", "attention.attention.query", "attention.q_proj"),
    ("attention.branch.k", "attention.attention.key", "attention.k_proj"),
    ("attention.branch.v", "attention.attention.value", "attention.v_proj"),
    ("attention.branch.out", "attention.output.dense", "attention.o_proj"),
    ("attention.norm", "layernorm_before", "layernorm_before"),
    ("mlp.norm", "layernorm_after", "layernorm_after"),
    ("mlp.branch.up", "intermediate.dense", "mlp.fc1"),
    ("mlp.branch.down", "output.dense", "mlp.fc2"),
]
VIT_FILE = Renaming(VIT_OUTER + [(f"tower.blocks.{{}}.{a}", f"vit.encoder.layer.{{}}.{b}") for a, b, _ in VIT_BLOCK])
VIT_MEMORY = Renaming(VIT_OUTER + [(f"tower.blocks.{{}}.{a}", f"vit.layers.{{}}.{c}") for a, _, c in VIT_BLOCK])

CLIP_BLOCK = [
    *((f"attention.branch.{x}", f"self_attn.{x}_proj") for x in "qkv"),
    ("attention.branch.out", "self_attn.out_proj"),
    ("attention.norm", "layer_norm1"),
    ("mlp.norm", "layer_norm2"),
    ("mlp.branch.up", "mlp.fc1"),
    ("mlp.branch.down", "mlp.fc2"),
]
CLIP_NAMES = Renaming(
    [
        ("vision.class_token", "vision_model.embeddings.class_embedding"),
        ("vision.positions", "vision_model.embeddings.position_embedding"),
        ("vision.patches", "vision_model.embeddings.patch_embedding"),
        ("vision.norm_before", "vision_model.pre_layrnorm"),  # their spelling
        ("vision.norm", "vision_model.post_layernorm"),
        ("text.words", "text_model.embeddings.token_embedding"),
        ("text.positions", "text_model.embeddings.position_embedding"),
        ("text.norm", "text_model.final_layer_norm"),
        ("image_projection", "visual_projection"),
        ("text_projection", "text_projection"),
        ("log_scale", "logit_scale"),
    ]
    + [(f"vision.blocks.{{}}.{a}", f"vision_model.encoder.layers.{{}}.{b}") for a, b in CLIP_BLOCK]
    + [(f"text.blocks.{{}}.{a}", f"text_model.encoder.layers.{{}}.{b}") for a, b in CLIP_BLOCK]
)


def _activation(name: str) -> str:
    if name not in ACTIVATIONS:
        raise ValueError(f"checkpoint uses the activation {name!r}; the core knows {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def _tower(config: Values, defaults: Values) -> Values:
    """The fields that both towers of both models share, with the library's defaults for those a file leaves out."""
    value = {**defaults, **config}
    return {
        "width": value["hidden_size"],
        "layers": value["num_hidden_layers"],
        "heads": value["num_attention_heads"],
        "hidden": value["intermediate_size"],
        "activation": _activation(value["hidden_act"]),
        "eps": value["layer_norm_eps"],
    }


VIT_DEFAULTS = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "image_size": 224,
    "patch_size": 16,
}
CLIP_VISION_DEFAULTS = {
    **VIT_DEFAULTS,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "patch_size": 32,
    "num_channels": 3,
}
CLIP_TEXT_DEFAULTS = {
    "hidden_size": 512,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "intermediate_size": 2048,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "vocab_size": 49408,
    "max_position_embeddings": 77,
    "eos_token_id": 49407,
}


def vit_from_hf(state: State, config: Values) -> tuple[State, Values]:
    """`ViTForImageClassification` or `ViTModel` (whose keys lack the `vit.` in front)."""
    if not any(key.startswith("vit.") for key in state):
        state = {key if key.startswith("classifier") else f"vit.{key}": value for key, value in state.items()}
    file_names = any(key.startswith("vit.encoder.layer.") for key in state)
    ours = (VIT_FILE if file_names else VIT_MEMORY).to_ours(state)
    ours["tower.class_token"] = ours["tower.class_token"].reshape(-1)
    ours["tower.positions.weight"] = ours["tower.positions.weight"].squeeze(0)
    value = {**VIT_DEFAULTS, **config}
    tower = {
        **_tower(config, VIT_DEFAULTS),
        "image_size": side(value["image_size"], "image_size"),
        "patch": side(value["patch_size"], "patch_size"),
        "channels": value.get("num_channels", 3),
        "qkv_bias": value.get("qkv_bias", True),
    }
    representation = ours["representation.0.weight"].shape[0] if "representation.0.weight" in ours else None
    if representation and value.get("pooler_act", "tanh") != "tanh":
        raise ValueError(f"checkpoint pools with {value['pooler_act']!r}; the core's representation layer knows tanh")
    classes = ours["head.weight"].shape[0] if "head.weight" in ours else 0
    return ours, {"tower": tower, "classes": classes, "representation": representation}


def vit_to_hf(state: State, config: Values) -> tuple[State, Values]:
    """Ours as `ViTForImageClassification` writes it to files; without a head, as `ViTModel` does.

    ValueError for a configuration that neither can express.
    """
    tower, classes, representation = config["tower"], config["classes"], config["representation"]
    require(
        config["pool"] == "first"
        and tower["class_token"]
        and tower["patch_bias"]
        and not tower["norm_before"]
        and tower["positions"],
        "transformers' ViT",
        "a class token that is read out, positions, a patch bias and no norm before the blocks",
    )
    require(not (classes and representation), "transformers' ViT", "a tanh layer or a classifier, not both")
    theirs = VIT_FILE.to_theirs(state)
    theirs["vit.embeddings.cls_token"] = theirs["vit.embeddings.cls_token"].reshape(1, 1, -1)
    theirs["vit.embeddings.position_embeddings"] = theirs["vit.embeddings.position_embeddings"].unsqueeze(0)
    if not classes:
        theirs = {name.removeprefix("vit."): value for name, value in theirs.items()}
    return theirs, {
        "model_type": "vit",
        "architectures": ["ViTForImageClassification" if classes else "ViTModel"],
        **_tower_to_hf(tower),
        "image_size": tower["image_size"],
        "patch_size": tower["patch"],
        "num_channels": tower["channels"],
        "qkv_bias": tower["qkv_bias"],
        **({"num_labels": classes} if classes else {"pooler_output_size": representation}),
    }


def _tower_to_hf(tower: Values) -> Values:
    back = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
    return {
        "hidden_size": tower["width"],
        "num_hidden_layers": tower["layers"],
        "num_attention_heads": tower["heads"],
        "intermediate_size": tower["hidden"],
        "hidden_act": back[tower["activation"]],
        "layer_norm_eps": tower["eps"],
    }


def _part(config: Values, name: str, defaults: Values) -> Values:
    """One tower's fields. The first published files say them twice; as in transformers, what the older `..._dict` says,
    and the library's default for what it leaves out, then wins over the newer entry."""
    older = config.get(f"{name}_dict")
    return {**(config.get(name) or {}), **({} if older is None else {**defaults, **older})}


def clip_from_hf(state: State, config: Values) -> tuple[State, Values]:
    """`CLIPModel`."""
    vision = _part(config, "vision_config", CLIP_VISION_DEFAULTS)
    text = _part(config, "text_config", CLIP_TEXT_DEFAULTS)
    sizes, words = {**CLIP_VISION_DEFAULTS, **vision}, {**CLIP_TEXT_DEFAULTS, **text}
    # The first published files say eos_token_id 2, which is wrong; the library then takes the largest id, and so do we.
    eos = None if words["eos_token_id"] == 2 else words["eos_token_id"]
    return CLIP_NAMES.to_ours(state), {
        "vision": {
            **_tower(vision, CLIP_VISION_DEFAULTS),
            "image_size": side(sizes["image_size"], "image_size"),
            "patch": side(sizes["patch_size"], "patch_size"),
            "channels": sizes["num_channels"],
            "norm_before": True,
            "patch_bias": False,
        },
        "text": {
            **_tower(text, CLIP_TEXT_DEFAULTS),
            "vocabulary": words["vocab_size"],
            "context": words["max_position_embeddings"],
        },
        "embedding": config.get("projection_dim", 512),
        "end_id": eos,
    }


def clip_to_hf(state: State, config: Values) -> tuple[State, Values]:
    """Ours as `CLIPModel`. ValueError for a configuration that their class cannot express."""
    vision, text = config["vision"], config["text"]
    require(
        config["text_pool"] == "last" and text["causal"] and config["image_pool"] == "first" and vision["class_token"],
        "CLIPModel",
        "a causal text read at its end token and a picture read at its class token",
    )
    require(
        vision["norm_before"] and vision["qkv_bias"] and vision["positions"] and not vision["patch_bias"],
        "CLIPModel",
        "positions, a norm before the blocks, biases on q, k, v and no patch bias",
    )
    end = config["end_id"]
    require(end != 2, "transformers' CLIP", "an end token other than 2, which it takes for 'the largest id'")
    return CLIP_NAMES.to_theirs(state), {
        "model_type": "clip",
        "architectures": ["CLIPModel"],
        "projection_dim": config["embedding"],
        "vision_config": {
            **_tower_to_hf(vision),
            "image_size": vision["image_size"],
            "patch_size": vision["patch"],
            "num_channels": vision["channels"],
        },
        "text_config": {
            **_tower_to_hf(text),
            "vocab_size": text["vocabulary"],
            "max_position_embeddings": text["context"],
            "eos_token_id": 2 if end is None else end,
        },
    }
