"""BERT's checkpoints: names, fields, and what is refused. Outputs are compared in tests/encoders/test_bert.py."""

import json

import pytest
import torch
from safetensors.torch import load_file

from tinyvlm.encoders import BertConfig
from tinyvlm.interop.bert import bert_from_hf

VALUES = dict(vocab_size=19, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20,
              max_position_embeddings=9, type_vocab_size=4, layer_norm_eps=1e-3)  # fmt: skip


def theirs(transformers, name: str = "BertForMaskedLM", **changes):
    return getattr(transformers, name)(transformers.BertConfig(**{**VALUES, **changes}))


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_every_weight_gets_a_name_of_its_own(transformers, shake):
    model = shake(theirs(transformers, is_decoder=True, add_cross_attention=True))
    ours, _ = bert_from_hf(model.state_dict(), model.config.to_dict())
    assert len(ours) == len(dict(model.named_parameters()))  # which names tied weights once
    assert sum(value.numel() for value in ours.values()) == sum(value.numel() for value in model.parameters())
    assert {name.split(".")[0] for name in ours} == {"embedding", "blocks", "word"}
    assert sum(".cross." in name for name in ours) == 2 * 10
    base, _ = bert_from_hf(theirs(transformers).state_dict(), {})
    assert set(ours) - set(base) == {name for name in ours if ".cross." in name} and set(base) < set(ours)


def test_with_and_without_the_prefix(transformers, shake):
    model = shake(theirs(transformers, "BertForPreTraining"))
    whole, fields = bert_from_hf(model.state_dict(), model.config.to_dict())
    inner, again = bert_from_hf(model.bert.state_dict(), model.config.to_dict())
    assert same(inner, {name: value for name, value in whole.items() if not name.startswith("word.")})
    assert fields == again and "pooler.dense.weight" in inner and "word.bias" in whole
    # As a few files have it: no prefix in front of the encoder, and the head all the same.
    bare = {name.removeprefix("bert."): value for name, value in model.state_dict().items()}
    assert same(bert_from_hf(bare, {})[0], whole)


def test_files_say_what_memory_says(transformers, shake, tmp_path):
    model = shake(theirs(transformers))
    model.save_pretrained(tmp_path)
    state, config = load_file(tmp_path / "model.safetensors"), json.loads((tmp_path / "config.json").read_text())
    assert "cls.predictions.decoder.weight" not in state
    ours, fields = bert_from_hf(state, config)
    memory, of_memory = bert_from_hf(model.state_dict(), model.config.to_dict())
    assert same(ours, memory) and fields == of_memory


def test_norms_of_the_first_files(transformers, shake):
    state = shake(theirs(transformers)).state_dict()
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in state.items()
    }
    assert sum("gamma" in name for name in old) == 2 * 2 + 2
    assert same(bert_from_hf(old, {})[0], bert_from_hf(state, {})[0])


def test_fields_are_those_of_the_configuration(transformers):
    model = theirs(transformers, initializer_range=0.3)
    _, fields = bert_from_hf(model.state_dict(), model.config.to_dict())
    assert BertConfig(**fields) == BertConfig(
        vocabulary=19, context=9, types=4, width=12, layers=2, heads=3, hidden=20, eps=1e-3, std=0.3, word_std=0.3
    )
    _, defaults = bert_from_hf(model.state_dict(), {"model_type": "bert"})
    _, written = bert_from_hf(model.state_dict(), transformers.BertConfig().to_dict())
    assert BertConfig(**defaults) == BertConfig(**written) == BertConfig()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "gelu_new"}, "activation 'gelu_new'; the core's BERT knows gelu only"),
        ({"hidden_act": "relu"}, "activation 'relu'"),
        ({"position_embedding_type": "relative_key"}, "'relative_key' positions; the core's BERT knows absolute"),
    ],
)
def test_what_the_core_does_not_know_is_named(transformers, changes, message):
    model = theirs(transformers)
    with pytest.raises(ValueError, match=message):
        bert_from_hf(model.state_dict(), {**model.config.to_dict(), **changes})


def test_an_output_layer_of_its_own_is_refused(transformers, shake):
    model = shake(theirs(transformers, tie_word_embeddings=False))
    with pytest.raises(ValueError, match="an output layer of its own"):
        bert_from_hf(model.state_dict(), model.config.to_dict())
