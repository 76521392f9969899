"""open_clip's (and OpenAI's own) CLIP with a ViT, to and from ours.

They fuse q, k and v into one matrix and store projections as (width, embedding), used as `x @ proj`.
"""

from typing import Any

import torch

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


def clip_from_open_clip(state: State, config: Values) -> tuple[State, Values]:
    """`config` is open_clip's `model_cfg`: {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}.

    The plain names (`ViT-B-32`) mean GELU and `...-quickgelu` QuickGELU: the commonest reason why outputs differ.
    """
    ours: State = {}
    for name, value in NAMES.to_ours(state).items():
        if ".qkv." in name:
            for letter, part in zip("qkv", value.chunk(3), strict=True):
                ours[name.replace(".qkv.", f".{letter}.")] = part.clone()
        else:
            ours[name] = value.T.contiguous() if name in TRANSPOSED else value
    vision, text = config["vision_cfg"], config["text_cfg"]
    activation = "quick_gelu" if config.get("quick_gelu", False) else "gelu"
    width, words = vision["width"], text["width"]
    return ours, {
        "vision": {
            "image_size": vision["image_size"],
            "patch": vision["patch_size"],
            "width": width,
            "layers": vision["layers"],
            "heads": width // vision.get("head_width", 64),
            "hidden": int(width * vision.get("mlp_ratio", 4.0)),
            "activation": activation,
            "eps": 1e-5,
            "norm_before": True,
            "patch_bias": False,
        },
        "text": {
            "vocabulary": text["vocab_size"],
            "context": text["context_length"],
            "width": words,
            "layers": text["layers"],
            "heads": text["heads"],
            "hidden": int(words * text.get("mlp_ratio", 4.0)),
            "activation": activation,
        },
        "embedding": config["embed_dim"],
    }


def clip_to_open_clip(state: State, config: Values) -> tuple[State, Values]:
    """Ours as open_clip's state dict and `model_cfg`."""
    fused: State = {}
    for name, value in state.items():
        if ".branch.k." in name or ".branch.v." in name:
            continue
        if ".branch.q." in name:
            parts = [state[name.replace(".branch.q.", f".branch.{letter}.")] for letter in "qkv"]
            fused[name.replace(".branch.q.", ".branch.qkv.")] = torch.cat(parts)
        else:
            fused[name] = value.T.contiguous() if name in TRANSPOSED else value
    vision, text = config["vision"], config["text"]
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
            "mlp_ratio": vision["hidden"] / vision["width"],
        },
        "text_cfg": {
            "context_length": text["context"],
            "vocab_size": text["vocabulary"],
            "width": text["width"],
            "heads": text["heads"],
            "layers": text["layers"],
            "mlp_ratio": text["hidden"] / text["width"],
        },
    }
