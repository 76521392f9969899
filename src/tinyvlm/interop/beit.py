"""`transformers` checkpoints of BEiT: masked image modelling and classification (names as in transformers 4 and 5)."""

from typing import Literal

from tinyvlm.interop.fields import side
from tinyvlm.interop.hf import ACTIVATIONS, VIT_DEFAULTS, Values
from tinyvlm.interop.renaming import Renaming, State

OUTER = [
    ("tower.class_token", "beit.embeddings.cls_token"),
    ("mask_token", "beit.embeddings.mask_token"),
    ("tower.positions.weight", "beit.embeddings.position_embeddings"),
    ("tower.patches", "beit.embeddings.patch_embeddings.projection"),
]
HEADS = {
    "codes": [("tower.norm", "layernorm"), ("head", "lm_head")],
    "classes": [("tower.norm", "beit.pooler.layernorm"), ("head", "classifier")],
}
TABLE = "relative_position_bias.relative_position_bias_table"
# The names that files carry (transformers 4, and 5 when saving), then those of transformers 5 in memory.
BLOCK = [
    ("attention.scale", "lambda_1", "lambda_1"),
    ("attention.norm", "layernorm_before", "layernorm_before"),
    ("attention.branch.q", "attention.attention.query", "attention.q_proj"),
    ("attention.branch.k", "attention.attention.key", "attention.k_proj"),
    ("attention.branch.v", "attention.attention.value", "attention.v_proj"),
    ("attention.branch.out", "attention.output.dense", "attention.o_proj"),
    ("mlp.scale", "lambda_2", "lambda_2"),
    ("mlp.norm", "layernorm_after", "layernorm_after"),
    ("mlp.branch.up", "intermediate.dense", "mlp.fc1"),
    ("mlp.branch.down", "output.dense", "mlp.fc2"),
]
FILE = [
    ("relative.table", f"beit.encoder.{TABLE}"),
    ("relative.{}.table", f"beit.encoder.layer.{{}}.attention.attention.{TABLE}"),
    *((f"tower.blocks.{{}}.{ours}", f"beit.encoder.layer.{{}}.{theirs}") for ours, theirs, _ in BLOCK),
]
MEMORY = [
    ("relative.table", "beit.shared_position_bias.relative_position_bias_table"),
    ("relative.{}.table", f"beit.layers.{{}}.{TABLE}"),
    *((f"tower.blocks.{{}}.{ours}", f"beit.layers.{{}}.{theirs}") for ours, _, theirs in BLOCK),
]
DEFAULTS = {
    **VIT_DEFAULTS,
    "num_channels": 3,
    "layer_scale_init_value": 0.1,
    "use_mask_token": False,
    "use_absolute_position_embeddings": False,
    "use_relative_position_bias": False,
    "use_shared_relative_position_bias": False,
    "use_mean_pooling": True,
}


def beit_from_hf(state: State, config: Values, head: Literal["codes", "classes"]) -> tuple[State, Values]:
    """`BeitForMaskedImageModeling` (`head="codes"`) or `BeitForImageClassification` (`head="classes"`).

    Every position scheme of theirs: none, absolute, a relative bias that all layers share, one for each layer, and
    absolute beside either. Raises ValueError for what our BEiT cannot express: both relative biases at once, a
    classifier that reads the class token, masked image modelling without a mask token, another activation.
    """
    value = {**DEFAULTS, **config}
    shared, layers = value["use_shared_relative_position_bias"], value["use_relative_position_bias"]
    if shared and layers:
        raise ValueError("checkpoint has a shared relative bias and one for each layer; the core's BEiT knows either")
    if head == "classes" and not value["use_mean_pooling"]:
        raise ValueError("checkpoint reads the class token (use_mean_pooling false); the core's BEiT reads the mean")
    if head == "codes" and not value["use_mask_token"]:
        raise ValueError("checkpoint has no mask token (use_mask_token false), so that nothing can be hidden")
    if value["hidden_act"] not in ACTIVATIONS:
        raise ValueError(
            f"checkpoint uses the activation {value['hidden_act']!r}; the core knows {', '.join(ACTIVATIONS)}"
        )
    in_file = any(key.startswith("beit.encoder.layer.") for key in state)
    ours = Renaming(OUTER + HEADS[head] + (FILE if in_file else MEMORY)).to_ours(state)
    for token in ("tower.class_token", "mask_token"):
        if token in ours:
            ours[token] = ours[token].reshape(-1)
    if "tower.positions.weight" in ours:
        ours["tower.positions.weight"] = ours["tower.positions.weight"].squeeze(0)
    if head == "classes":
        ours.pop("mask_token", None)
    tower = {
        "image_size": side(value["image_size"], "image_size"),
        "patch": side(value["patch_size"], "patch_size"),
        "channels": value["num_channels"],
        "width": value["hidden_size"],
        "layers": value["num_hidden_layers"],
        "heads": value["num_attention_heads"],
        "hidden": value["intermediate_size"],
        "activation": ACTIVATIONS[value["hidden_act"]],
        "eps": value["layer_norm_eps"],
        "positions": value["use_absolute_position_embeddings"],
    }
    # LayerScale of 0 is theirs for none.
    start = value["layer_scale_init_value"]
    return ours, {
        "tower": tower,
        head: ours["head.weight"].shape[0],
        "relative": "shared" if shared else "layers" if layers else "none",
        "scale": float(start) if start and start > 0 else None,
    }
