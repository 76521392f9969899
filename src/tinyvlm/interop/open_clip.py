"""open_clip's (and OpenAI's own) CLIP with a ViT, to and from ours.

They fuse q, k and v into one matrix and store projections as (width, embedding), used as `x @ proj`.
"""

from typing import Any

import torch

from tinyvlm.interop.fields import refuse, require, side
from tinyvlm.interop.renaming import Renaming, State

Values = dict[str, Any]

BLOCK = [
    ("attention.norm", "ln_1"),
    ("attention.branch.qkv", "attn.in_proj"),  # split into q, k, v below
    ("attention.branch.out", "attn.out_proj"),
    ("mlp.norm", "ln_2"),
    ("mlp.branch.up", "mlp.c_fc"),
    ("mlp.branch.down", "mlp.c_proj"),
]
NAMES = Renaming(
    [
        ("vision.class_token", "visual.class_embedding"),
        ("vision.positions.weight", "visual.positional_embedding"),
        ("vision.patches", "visual.conv1"),
        ("vision.norm_before", "visual.ln_pre"),
        ("vision.norm", "visual.ln_post"),
        ("image_projection.weight", "visual.proj"),
        ("text.words", "token_embedding"),
        ("text.positions.weight", "positional_embedding"),
        ("text.norm", "ln_final"),
        ("text_projection.weight", "text_projection"),
        ("log_scale", "logit_scale"),
    ]
    + [
        (f"{ours}.blocks.{{}}.{a}{leaf}", f"{theirs}.resblocks.{{}}.{b}{joint}{leaf.removeprefix('.')}")
        for ours, theirs in (("vision", "visual.transformer"), ("text", "transformer"))
        for a, b in BLOCK
        for leaf in (".weight", ".bias")
        for joint in ("_" if b.endswith("in_proj") else ".",)
    ]
)
TRANSPOSED = ("image_projection.weight", "text_projection.weight")

VISION_DEFAULTS = {"image_size": 224, "patch_size": 16, "width": 768, "layers": 12, "head_width": 64, "mlp_ratio": 4.0}
TEXT_DEFAULTS = {"vocab_size": 49408, "context_length": 77, "width": 512, "heads": 8, "layers": 12, "mlp_ratio": 4.0}
# Their switches that change the network and that the core does not have.
BEYOND = (
    "ls_init_value",
    "attentional_pool",
    "no_ln_pre",
    "final_ln_after_pool",
    "act_kwargs",
    "timm_model_name",
    "hf_model_name",
    "embed_cls",
    "no_causal_mask",
    "proj_bias",
    "qk_norm",
    "scaled_cosine_attn",
    "scale_heads",
    "scale_attn_inner",
    "scale_attn",
    "scale_fc",
)
PLAIN = {"pool_type": ("tok", "argmax", "eos"), "pos_embed_type": ("learnable",), "proj_type": ("linear",)}


def clip_from_open_clip(state: State, config: Values) -> tuple[State, Values]:
    """`config` is open_clip's `model_cfg`: {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}.

    The plain names (`ViT-B-32`) mean GELU and `...-quickgelu` QuickGELU: the commonest reason why outputs differ.
    """
    vision: Values = {**VISION_DEFAULTS, **config["vision_cfg"]}
    text: Values = {**TEXT_DEFAULTS, **config["text_cfg"]}
    refuse(config, ("init_logit_bias",), "open_clip")
    for part in (vision, text):
        refuse(part, BEYOND, "open_clip")
        other = {name: part[name] for name, plain in PLAIN.items() if part.get(name, plain[0]) not in plain}
        refuse(other, other, "open_clip")
    if isinstance(vision["layers"], list | tuple):
        raise ValueError("open_clip checkpoint has a ResNet; the core's CLIP reads pictures with a ViT: choose one")
    ours: State = {}
    for name, value in NAMES.to_ours(state).items():
        if ".qkv." in name:
            for letter, third in zip("qkv", value.chunk(3), strict=True):
                ours[name.replace(".qkv.", f".{letter}.")] = third.clone()
        else:
            ours[name] = value.T.contiguous() if name in TRANSPOSED else value
    activation = "quick_gelu" if config.get("quick_gelu", False) else "gelu"
    width, words = vision["width"], text["width"]
    return ours, {
        "vision": {
            "image_size": side(vision["image_size"], "image_size"),
            "patch": side(vision["patch_size"], "patch_size"),
            "width": width,
            "layers": vision["layers"],
            "heads": width // vision["head_width"],
            "hidden": int(width * vision["mlp_ratio"]),
            "activation": activation,
            "eps": (vision.get("norm_kwargs") or {}).get("eps", 1e-5),
            "norm_before": True,
            "patch_bias": False,
        },
        "text": {
            "vocabulary": text["vocab_size"],
            "context": text["context_length"],
            "width": words,
            "layers": text["layers"],
            "heads": text["heads"],
            "hidden": int(words * text["mlp_ratio"]),
            "activation": activation,
            "eps": (text.get("norm_kwargs") or {}).get("eps", 1e-5),
        },
        "embedding": config["embed_dim"],
        "end_id": text.get("eos_id", 2) if text.get("pool_type") == "eos" else None,
    }


def _ratio(hidden: int, width: int) -> float:
    """The ratio out of which they compute `hidden` again, rounding down."""
    return hidden / width if int(width * (hidden / width)) == hidden else (hidden + 0.5) / width


def clip_to_open_clip(state: State, config: Values) -> tuple[State, Values]:
    """Ours as open_clip's state dict and `model_cfg`. ValueError for a configuration that it cannot express."""
    vision, text, end = config["vision"], config["text"], config["end_id"]
    require(
        config["text_pool"] == "last" and text["causal"] and config["image_pool"] == "first" and vision["class_token"],
        "open_clip",
        "a causal text read at its end token and a picture read at its class token",
    )
    require(
        vision["norm_before"]
        and vision["qkv_bias"]
        and not vision["patch_bias"]
        and vision["channels"] == 3
        and vision["positions"],
        "open_clip",
        "positions, a norm before the blocks, biases on q, k, v, no patch bias and 3 channels",
    )
    require(
        vision["activation"] == text["activation"] and vision["activation"] in ("gelu", "quick_gelu"),
        "open_clip",
        "one activation for both towers, gelu or quick_gelu",
    )
    fused: State = {}
    for name, value in state.items():
        if ".branch.k." in name or ".branch.v." in name:
            continue
        if ".branch.q." in name:
            parts = [state[name.replace(".branch.q.", f".branch.{letter}.")] for letter in "qkv"]
            fused[name.replace(".branch.q.", ".branch.qkv.")] = torch.cat(parts)
        else:
            fused[name] = value.T.contiguous() if name in TRANSPOSED else value
    return NAMES.to_theirs(fused), {
        "model_type": "open_clip",
        "embed_dim": config["embedding"],
        "quick_gelu": vision["activation"] == "quick_gelu",
        "vision_cfg": {
            "image_size": vision["image_size"],
            "layers": vision["layers"],
            "width": vision["width"],
            "head_width": vision["width"] // vision["heads"],
            "patch_size": vision["patch"],
            "mlp_ratio": _ratio(vision["hidden"], vision["width"]),
            "norm_kwargs": {"eps": vision["eps"]},
        },
        "text_cfg": {
            "context_length": text["context"],
            "vocab_size": text["vocabulary"],
            "width": text["width"],
            "heads": text["heads"],
            "layers": text["layers"],
            "mlp_ratio": _ratio(text["hidden"], text["width"]),
            "norm_kwargs": {"eps": text["eps"]},
            **({} if end is None else {"pool_type": "eos", "eos_id": end}),
        },
    }
