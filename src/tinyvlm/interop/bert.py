"""`transformers` checkpoints of BERT (names as in transformers 4 and 5), for the papers whose text tower starts as one.

BERT is no paper model of the course but parts of several: the keys here say `embedding`, `blocks`, `pooler` and `word`,
and each paper's file puts them where it wants them.
"""

import torch

from tinyvlm.interop.hf import Values
from tinyvlm.interop.renaming import Renaming, State

ATTENTION = [
    ("branch.q", "self.query"),
    ("branch.k", "self.key"),
    ("branch.v", "self.value"),
    ("branch.out", "output.dense"),
    ("norm", "output.LayerNorm"),
]
BLOCK = [
    *((f"attention.{a}", f"attention.{b}") for a, b in ATTENTION),
    *((f"cross.{a}", f"crossattention.{b}") for a, b in ATTENTION),
    ("mlp.branch.up", "intermediate.dense"),
    ("mlp.branch.down", "output.dense"),
    ("mlp.norm", "output.LayerNorm"),
]
NAMES = Renaming(
    [
        ("embedding.words", "bert.embeddings.word_embeddings"),
        ("embedding.positions", "bert.embeddings.position_embeddings"),
        ("embedding.types", "bert.embeddings.token_type_embeddings"),
        ("embedding.norm", "bert.embeddings.LayerNorm"),
        ("pooler.dense", "bert.pooler.dense"),
        ("word.dense", "cls.predictions.transform.dense"),
        ("word.norm", "cls.predictions.transform.LayerNorm"),
        ("word.bias", "cls.predictions.bias"),
    ]
    + [(f"blocks.{{}}.{a}", f"bert.encoder.layer.{{}}.{b}") for a, b in BLOCK]
)
DEFAULTS = {
    "vocab_size": 30522,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "initializer_range": 0.02,
}
TABLE, OUTPUT = "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"


def bert_from_hf(state: State, config: Values) -> tuple[State, Values]:
    """`BertForMaskedLM`, `BertForPreTraining` or `BertModel` (whose keys lack the `bert.` in front).

    Returns the weights under `embedding`, `blocks.{}`, `pooler` and `word`, as far as the checkpoint has them, and the
    fields of `BertConfig`. Layers with `crossattention` get a `cross`; layers keep their numbers, so that a model that
    splits BERT into halves (ALBEF) renumbers its own. Dropout is a matter of training and stays at its default, as does
    the causal mask of a decoder: the caller says who may attend to whom.

    Raises ValueError for what BERT's parts in the core cannot express: an activation other than the exact GELU,
    positions other than absolute ones, an output layer that is not the word table.
    """
    value = {**DEFAULTS, **config}
    if value["hidden_act"] != "gelu":
        raise ValueError(f"checkpoint uses the activation {value['hidden_act']!r}; the core's BERT knows gelu only")
    if value["position_embedding_type"] != "absolute":
        raise ValueError(
            f"checkpoint has {value['position_embedding_type']!r} positions; the core's BERT knows absolute ones only"
        )
    if not any(key.startswith("bert.") for key in state):
        state = {key if key.startswith("cls.") else f"bert.{key}": tensor for key, tensor in state.items()}
    # Files converted from TensorFlow, among them the first published ones, call a norm's weights gamma and beta.
    state = {
        key.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): tensor
        for key, tensor in state.items()
    }
    if OUTPUT in state and not torch.equal(state[OUTPUT], state[TABLE]):
        raise ValueError(
            "checkpoint has an output layer of its own (tie_word_embeddings false); the core's BERT predicts words "
            "with its word table only"
        )
    return NAMES.to_ours(state), {
        "vocabulary": value["vocab_size"],
        "context": value["max_position_embeddings"],
        "types": value["type_vocab_size"],
        "width": value["hidden_size"],
        "layers": value["num_hidden_layers"],
        "heads": value["num_attention_heads"],
        "hidden": value["intermediate_size"],
        "eps": value["layer_norm_eps"],
        "std": value["initializer_range"],
        "word_std": value["initializer_range"],
    }
