"""BERT's parts: the same network in transformers, whole and as ALBEF's two halves; what norms and masks do to them."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyvlm.encoders import BertConfig, BertEmbedding, BertPooler, WordPredictor, bert_blocks, last_norm
from tinyvlm.interop.bert import bert_from_hf
from tinyvlm.layers import Mask, Stack
from tinyvlm.models.albef import fusion_block

CASES = {
    "three heads, three segments": dict(vocab_size=29, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
                                        intermediate_size=40, max_position_embeddings=11, type_vocab_size=3),
    "one head, wide eps": dict(vocab_size=17, hidden_size=10, num_hidden_layers=4, num_attention_heads=1,
                               intermediate_size=6, max_position_embeddings=7, type_vocab_size=1, layer_norm_eps=1e-2),
    "heads of one number": dict(vocab_size=40, hidden_size=8, num_hidden_layers=11, num_attention_heads=8,
                                intermediate_size=32, max_position_embeddings=30),
}  # fmt: skip
every_case = pytest.mark.parametrize("values", CASES.values(), ids=CASES.keys())
LENGTHS = torch.tensor([7, 1, 4])
PADDING = torch.arange(7)[None] < LENGTHS[:, None]
TINY = BertConfig(vocabulary=20, context=7, width=12, layers=3, heads=2, hidden=18, eps=1e-5)


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers", reason="the comparison needs the extra `hub`")


@torch.no_grad()
def shaken(model: nn.Module) -> nn.Module:
    """Large weights, none at its first value, so that differences would show."""
    for name, parameter in model.named_parameters():
        parameter.normal_(std=0.4).add_(float("norm" in name.lower() and name.endswith("weight")))
    return model.eval()


def near(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def load(part: nn.Module, state: dict[str, Tensor], prefix: str) -> nn.Module:
    """Exactly the weights under `prefix`, all of them."""
    part.load_state_dict({name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)})
    return part.eval()


@every_case
@torch.no_grad()
def test_the_encoder_and_its_pooler_are_transformers(transformers, values):
    theirs = shaken(transformers.BertModel(transformers.BertConfig(**values)))
    state, fields = bert_from_hf(theirs.state_dict(), theirs.config.to_dict())
    config = BertConfig(**fields)
    embedding = load(BertEmbedding(config), state, "embedding.")
    blocks, pooler = load(bert_blocks(config), state, "blocks."), load(BertPooler(config.width), state, "pooler.")
    ids = torch.randint(config.vocabulary, (3, 7))
    expected = theirs(ids, attention_mask=PADDING.long())
    x = embedding(ids)
    near(x, theirs.embeddings(ids))
    tokens = last_norm(config)(blocks(x, attention={"mask": Mask(padding=PADDING)}))
    near(tokens, expected.last_hidden_state)
    near(pooler(tokens[:, 0]), expected.pooler_output)
    assert (blocks(x) - tokens).abs().max() > 0.01, "the mask must matter"
    count = sum(parameter.numel() for part in (embedding, blocks, pooler) for parameter in part.parameters())
    assert count == sum(parameter.numel() for parameter in theirs.parameters())


@every_case
@torch.no_grad()
def test_the_word_predictor_is_transformers(transformers, values):
    theirs = shaken(transformers.BertForMaskedLM(transformers.BertConfig(**values)))
    state, fields = bert_from_hf(theirs.state_dict(), theirs.config.to_dict())
    config = BertConfig(**fields)
    embedding = load(BertEmbedding(config), state, "embedding.")
    blocks, word = load(bert_blocks(config), state, "blocks."), load(WordPredictor(config), state, "word.")
    ids = torch.randint(config.vocabulary, (3, 7))
    tokens = blocks(embedding(ids), attention={"mask": Mask(padding=PADDING)})
    logits = theirs(ids, attention_mask=PADDING.long()).logits
    near(word(tokens[PADDING], embedding.words), logits[PADDING])
    assert logits.std() > 0.1


@every_case
@pytest.mark.parametrize("context_width", [None, 14], ids=["one width", "pictures of another width"])
@torch.no_grad()
def test_albefs_halves_are_transformers_with_cross_attention_above(transformers, values, context_width):
    their_config = transformers.BertConfig(**values, is_decoder=True, add_cross_attention=True)
    width, layers = their_config.hidden_size, their_config.num_hidden_layers
    lower, context_width = layers // 2, context_width or width
    theirs = transformers.BertModel(their_config, add_pooling_layer=False)
    for depth, layer in enumerate(theirs.encoder.layer):
        if depth < lower:
            del layer.crossattention
        elif context_width != width:  # as in ALBEF's own code, which their class cannot say
            layer.crossattention.self.key = nn.Linear(context_width, width)
            layer.crossattention.self.value = nn.Linear(context_width, width)
    shaken(theirs)
    state, fields = bert_from_hf(theirs.state_dict(), their_config.to_dict())
    config = BertConfig(**fields)
    halves: list[dict[str, Tensor]] = [{}, {}]
    for name, value in state.items():
        if name.startswith("blocks."):
            _, depth, rest = name.split(".", 2)
            above = int(depth) >= lower
            halves[above][f"{int(depth) - above * lower}.{rest}"] = value
    text = load(bert_blocks(config, lower), halves[0], "")
    fusion = load(Stack(fusion_block(config, context_width) for _ in range(layers - lower)), halves[1], "")
    x, pictures = torch.randn(3, 7, width), torch.randn(3, 5, context_width)
    mask, additive = Mask(padding=PADDING), torch.zeros(3, 1, 7, 7).masked_fill(~PADDING[:, None, None], -1e9)
    read = text(x, attention={"mask": mask})
    fused = fusion(read, attention={"mask": mask}, cross={"context": pictures})
    y = x
    for depth, layer in enumerate(theirs.encoder.layer):
        y = layer(y, additive, encoder_hidden_states=pictures if depth >= lower else None)
        if depth == lower - 1:
            near(read, y)
    near(fused, y)
    other = fusion(read, attention={"mask": mask}, cross={"context": pictures.roll(1, 0)})
    assert (other - fused).abs().max() > 0.01


@pytest.mark.parametrize("placement", ["pre", "post"])
def test_blocks_are_their_formulas(placement):
    config = TINY.replace(placement=placement)
    blocks, x = shaken(bert_blocks(config)).double(), torch.randn(2, 5, 12, dtype=torch.double)
    assert len(blocks) == 3 and len(bert_blocks(config, 2)) == 2 and len(bert_blocks(config, 0)) == 0
    y = x
    for block in blocks:
        for name in ("attention", "mlp"):
            branch, norm = block[name].branch, block[name].norm
            y = y + branch(norm(y)) if placement == "pre" else norm(y + branch(y))
            assert norm.eps == 1e-5
    torch.testing.assert_close(blocks(x), y)


def test_only_pre_norm_blocks_need_a_norm_behind_them():
    x = torch.randn(2, 5, 12)
    assert last_norm(TINY)(x) is x
    norm = last_norm(TINY.replace(placement="pre", eps=1e-3))
    torch.testing.assert_close(norm(x), F.layer_norm(x, (12,), eps=1e-3))
    # Behind it tokens are normalised either way, whatever the blocks add up to.
    for placement in ("pre", "post"):
        config = TINY.replace(placement=placement)
        out = last_norm(config)(bert_blocks(config)(100 * x))
        torch.testing.assert_close(out.mean(-1), torch.zeros(2, 5), rtol=0, atol=1e-5)
        torch.testing.assert_close(out.std(-1, unbiased=False), torch.ones(2, 5), rtol=0, atol=1e-3)
    assert bert_blocks(TINY.replace(placement="pre"))(100 * x).std() > 10


@pytest.mark.parametrize("placement", ["pre", "post"])
def test_padding_changes_no_real_token(placement):
    config = TINY.replace(placement=placement)
    embedding, blocks = shaken(BertEmbedding(config)).double(), shaken(bert_blocks(config)).double()
    ids = torch.randint(20, (3, 7))
    other = torch.where(PADDING, ids, (ids + 3) % 20)
    one, two = (blocks(embedding(text), attention={"mask": Mask(padding=PADDING)}) for text in (ids, other))
    torch.testing.assert_close(one[PADDING], two[PADDING])
    assert not torch.allclose(one[~PADDING], two[~PADDING])
    torch.testing.assert_close(blocks(embedding(ids[2:, :4]))[0], one[2, :4])
    assert not torch.allclose(blocks(embedding(ids))[PADDING], one[PADDING])


def test_every_word_sees_what_follows():
    embedding, blocks = shaken(BertEmbedding(TINY)), shaken(bert_blocks(TINY))
    ids = torch.randint(20, (1, 5))
    changed = ids.clone()
    changed[0, 4] = (ids[0, 4] + 1) % 20
    assert ((blocks(embedding(ids)) - blocks(embedding(changed)))[0].abs().amax(-1) > 1e-3).all()


def test_a_place_and_the_first_segment_are_added_before_the_norm():
    embedding = shaken(BertEmbedding(TINY.replace(types=3)))
    ids = torch.randint(20, (2, 4))
    for row, text in enumerate(ids.tolist()):
        for place, word in enumerate(text):
            total = embedding.words.weight[word] + embedding.positions.weight[place] + embedding.types.weight[0]
            torch.testing.assert_close(embedding(ids)[row, place], embedding.norm(total))


def test_text_beyond_the_context_names_both_lengths():
    embedding = BertEmbedding(TINY)
    assert embedding(torch.zeros(1, 7, dtype=torch.long)).shape == (1, 7, 12)
    with pytest.raises(ValueError, match="text has 8 tokens, this model reads at most 7; truncate it first"):
        embedding(torch.zeros(1, 8, dtype=torch.long))


def test_tables_and_dropout_follow_the_configuration():
    config = BertConfig(vocabulary=400, context=300, types=200, width=32, layers=1, heads=1, hidden=8, std=0.1,
                        word_std=0.7, dropout=0.25)  # fmt: skip
    embedding, blocks = BertEmbedding(config), bert_blocks(config)
    stds = [table.weight.std().item() for table in (embedding.words, embedding.positions, embedding.types)]
    assert stds == pytest.approx([0.7, 0.7, 0.1], rel=0.05)
    assert embedding.norm.eps == 1e-12
    assert [blocks[0][name].dropout.p for name in ("attention", "mlp")] == [0.25, 0.25] and embedding.dropout.p == 0.25


def test_the_word_table_is_the_output_layer_and_learns_from_it():
    word, words = shaken(WordPredictor(TINY)), nn.Embedding(20, 12)
    tokens = torch.randn(5, 12)
    hidden = word.norm(F.gelu(word.dense(tokens)))
    expected = torch.stack([hidden @ vector + bias for vector, bias in zip(words.weight, word.bias, strict=True)], 1)
    torch.testing.assert_close(word(tokens, words), expected)
    word(tokens, words).square().sum().backward()
    assert words.weight.grad.abs().sum() > 0 and WordPredictor(TINY).bias.abs().sum() == 0
