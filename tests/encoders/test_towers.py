"""The towers and their initial weights."""

import itertools

import pytest
import torch
from torch import nn

from tinyvlm.encoders import TextConfig, TextTransformer, VisionConfig, VisionTransformer, check_images, normalise
from tinyvlm.encoders.bert import BertConfig, BertEmbedding
from tinyvlm.encoders.init import init_by_width, init_xavier
from tinyvlm.encoders.text import text_block
from tinyvlm.encoders.vision import vision_block
from tinyvlm.layers import Attention, Block, FeedForward, KVCache, Mask, Residual, Stack

VISION = VisionConfig(image_size=12, patch=4, width=16, layers=2, heads=2, hidden=24)
TEXT = TextConfig(vocabulary=20, context=7, width=16, layers=2, heads=2, hidden=24)


@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("norm_before", [True, False])
def test_vision_tower_is_equations_1_to_4(class_token, norm_before):
    tower = VisionTransformer(VISION.replace(class_token=class_token, norm_before=norm_before)).eval()
    for parameter in tower.parameters():
        nn.init.normal_(parameter, std=0.3)
    image = torch.randn(2, 3, 12, 12)
    x = torch.nn.functional.conv2d(image, tower.patches.weight, tower.patches.bias, stride=4).flatten(2).mT
    if class_token:
        x = torch.cat([tower.class_token.expand(2, 1, 16), x], 1)
    x = x + tower.positions.weight
    if norm_before:
        x = tower.norm_before(x)
    for block in tower.blocks:
        x = x + block["attention"].branch(block["attention"].norm(x))
        x = x + block["mlp"].branch(block["mlp"].norm(x))
    out = tower(image)
    torch.testing.assert_close(out, tower.norm(x), rtol=1e-4, atol=1e-4)
    assert out.shape == (2, 9 + class_token, 16) and tower.config.tokens == 9 + class_token


def test_without_positions_the_tower_does_not_know_where_a_patch_is():
    tower = VisionTransformer(VISION.replace(class_token=False)).double().eval()
    image = torch.randn(1, 3, 12, 12).double()
    swapped = image.clone()
    swapped[..., :4], swapped[..., 4:8] = image[..., 4:8], image[..., :4]
    assert not torch.allclose(tower(image).mean(1), tower(swapped).mean(1), atol=1e-6)
    nn.init.zeros_(tower.positions.weight)
    torch.testing.assert_close(tower(image).mean(1), tower(swapped).mean(1))


@pytest.mark.parametrize("class_token", [True, False])
def test_positions_can_be_left_out(class_token):
    """The same tower with a table of zeros; shuffled patches come out shuffled, and a pooled answer is unmoved."""
    config = VISION.replace(class_token=class_token)
    bag, tower = VisionTransformer(config.replace(positions=False)).double(), VisionTransformer(config).double()
    gone = {name: value for name, value in tower.state_dict().items() if name != "positions.weight"}
    assert set(tower.state_dict()) - set(bag.state_dict()) == {"positions.weight"}
    bag.load_state_dict(gone)
    nn.init.zeros_(tower.positions.weight)
    image = torch.randn(2, 3, 12, 12).double()
    torch.testing.assert_close(bag(image), tower(image))
    order = torch.randperm(9)
    squares = image.unfold(2, 4, 4).unfold(3, 4, 4).flatten(2, 3)[:, :, order]
    shuffled = squares.unflatten(2, (3, 3)).permute(0, 1, 2, 4, 3, 5).reshape(2, 3, 12, 12)
    assert not torch.equal(shuffled, image)
    torch.testing.assert_close(bag(shuffled)[:, class_token:], bag(image)[:, class_token:][:, order])
    if class_token:
        torch.testing.assert_close(bag(shuffled)[:, 0], bag(image)[:, 0])


def test_heads_width_and_eps_reach_the_layers():
    tower = VisionTransformer(VISION.replace(heads=4, eps=1e-3, qkv_bias=False, activation="relu", patch_bias=False))
    attention = tower.blocks[1]["attention"]
    assert attention.branch.heads == 4 and attention.norm.eps == tower.norm.eps == 1e-3
    assert attention.branch.q.bias is attention.branch.k.bias is attention.branch.v.bias is None
    assert attention.branch.out.bias is not None and tower.patches.bias is None
    assert tower.blocks[0]["mlp"].branch.activation is torch.nn.functional.relu
    text = TextTransformer(TEXT.replace(heads=8, eps=1e-2))
    assert text.blocks[0]["attention"].branch.heads == 8 and text.norm.eps == text.blocks[0]["mlp"].norm.eps == 1e-2


def test_stochastic_depth_grows_with_depth():
    tower = VisionTransformer(VISION.replace(layers=5, drop=0.4))
    assert [block["mlp"].drop for block in tower.blocks] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert [block["attention"].drop for block in tower.blocks] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_dropout_follows_every_dense_layer_but_queries_keys_and_values():
    for block in (vision_block(VISION.replace(dropout=0.25)), text_block(TEXT.replace(dropout=0.25))):
        assert [block[name].dropout.p for name in ("attention", "mlp")] == [0.25, 0.25]
        assert block["mlp"].branch.dropout.p == 0.25 and block["attention"].branch.dropout == 0.0
    for tower, inputs in (
        (VisionTransformer(VISION.replace(dropout=0.25)), torch.randn(1, 3, 12, 12)),
        (TextTransformer(TEXT.replace(dropout=0.25)), torch.zeros(1, 5, dtype=torch.long)),
    ):
        assert tower.dropout.p == 0.25
        assert not torch.equal(tower(inputs), tower(inputs))
        tower.eval()
        assert torch.equal(tower(inputs), tower(inputs))


def test_initial_tables_have_the_asked_scale_and_nothing_is_nan():
    tower = VisionTransformer(
        VisionConfig(image_size=64, patch=4, width=64, layers=1, heads=1, hidden=64, position_std=0.3)
    )
    assert tower.positions.weight.std().item() == pytest.approx(0.3, rel=0.05)
    assert (tower.class_token == 0).all()
    text = TextTransformer(
        TextConfig(vocabulary=300, context=90, width=64, layers=1, heads=1, hidden=64, token_std=0.4)
    )
    assert text.words.weight.std().item() == pytest.approx(0.4, rel=0.05)
    assert text.positions.weight.std().item() == pytest.approx(0.01, rel=0.1)
    for model in (tower, text):
        assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def stack(layers: int = 3) -> Stack:
    config = VisionConfig(width=64, layers=layers, heads=4, hidden=256)
    return Stack(vision_block(config, depth) for depth in range(layers))


def test_vits_initial_weights():
    blocks = stack()
    init_xavier(blocks)
    for module in blocks.modules():
        if isinstance(module, nn.Linear):
            bound = (6 / sum(module.weight.shape)) ** 0.5
            assert 0.98 * bound < module.weight.abs().max() <= bound
            assert module.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
        if isinstance(module, FeedForward):
            for bias in (module.up.bias, module.down.bias):
                assert bias.std().item() == pytest.approx(1e-6, rel=0.5)
        if isinstance(module, Attention):
            assert all((part.bias == 0).all() for part in (module.q, module.k, module.v, module.out))


@pytest.mark.parametrize("layers", [1, 8])
def test_clips_initial_weights(layers):
    blocks = stack(layers)
    init_by_width(blocks, 64)
    attention, mlp = blocks[0]["attention"].branch, blocks[-1]["mlp"].branch
    back = 64**-0.5 * (2 * layers) ** -0.5
    for linear, std in (
        (attention.q, 1 / 8), (attention.k, 1 / 8), (attention.v, 1 / 8), (attention.out, back),
        (mlp.up, 128**-0.5), (mlp.down, back),
    ):  # fmt: skip
        assert linear.weight.std().item() == pytest.approx(std, rel=0.05)
        assert (linear.bias == 0).all()


@pytest.mark.parametrize("causal", [True, False])
def test_text_tower_is_embedding_blocks_norm(causal):
    tower = TextTransformer(TEXT.replace(causal=causal)).double().eval()
    for parameter in tower.parameters():
        nn.init.normal_(parameter, std=0.3)
    ids = torch.randint(20, (2, 5))
    allowed = torch.ones(5, 5, dtype=torch.bool).tril() if causal else torch.ones(5, 5, dtype=torch.bool)
    x = tower.words.weight[ids] + tower.positions.weight[:5]
    for block in tower.blocks:
        attention, y = block["attention"].branch, block["attention"].norm(x)
        q, k, v = (part(y).reshape(2, 5, 2, 8).transpose(1, 2) for part in (attention.q, attention.k, attention.v))
        weights = (q @ k.mT / 8**0.5).masked_fill(~allowed, -torch.inf).softmax(-1)
        x = x + attention.out((weights @ v).transpose(1, 2).reshape(2, 5, 16))
        x = x + block["mlp"].branch(block["mlp"].norm(x))
    torch.testing.assert_close(tower(ids), tower.norm(x))


@pytest.mark.parametrize("causal", [True, False])
def test_padding_behind_the_text_changes_nothing(causal):
    tower = TextTransformer(TEXT.replace(causal=causal)).double().eval()
    nn.init.normal_(tower.words.weight)
    ids = torch.randint(20, (2, 7))
    mask = torch.arange(7)[None] < torch.tensor([[4], [6]])
    other = torch.where(mask, ids, (ids + 3) % 20)
    one, two = tower(ids, mask), tower(other, mask)
    torch.testing.assert_close(one[mask], two[mask])
    assert not torch.allclose(one[~mask], two[~mask])
    torch.testing.assert_close(tower(ids[:1, :4], mask[:1, :4])[0], one[0, :4])


def test_a_tower_that_reads_both_ways_sees_what_follows():
    ids = torch.randint(20, (1, 5))
    changed = ids.clone()
    changed[0, 4] = (ids[0, 4] + 1) % 20
    for causal, sees in ((True, False), (False, True)):
        tower = TextTransformer(TEXT.replace(causal=causal, token_std=1.0)).eval()
        assert torch.allclose(tower(ids)[0, :4], tower(changed)[0, :4], atol=1e-6) != sees


def test_text_beyond_the_context_names_both_lengths():
    tower = TextTransformer(TEXT)
    with pytest.raises(ValueError, match="text has 8 tokens, this model reads at most 7; truncate it first"):
        tower(torch.zeros(1, 8, dtype=torch.long))


def test_a_picture_that_patches_do_not_tile_is_refused():
    with pytest.raises(ValueError, match="image_size 10 is not a multiple of patch 4"):
        VisionConfig(image_size=10, patch=4)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(3, 8, 8), r"shape \[3, 8, 8\]; this model takes float \[batch, 3, 8, 8\]"),
        (torch.zeros(1, 1, 8, 8), r"shape \[1, 1, 8, 8\]"),
        (torch.zeros(1, 3, 8, 9), r"shape \[1, 3, 8, 9\].*resize or crop"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), r"dtype torch\.uint8.*normalise first"),
        (torch.full((1, 3, 8, 8), 255.0), r"values up to 255; .* normalise it first"),
        (torch.full((1, 3, 8, 8), -200.0), r"values up to 200"),
        (torch.full((1, 3, 8, 8), torch.nan), r"values up to nan"),
        (torch.full((1, 3, 8, 8), torch.inf), r"values up to inf"),
    ],
)
def test_pictures_that_a_tower_cannot_take(image, message):
    with pytest.raises(ValueError, match=message):
        check_images(image, 8)


def test_pictures_that_a_tower_takes():
    check_images(torch.full((2, 3, 8, 8), -3.0), 8)
    check_images(torch.zeros(0, 3, 8, 8), 8)
    check_images(torch.zeros(2, 1, 8, 8, dtype=torch.bfloat16), 8, channels=1)


def test_the_tower_checks_its_pictures():
    tower = VisionTransformer(VISION)
    with pytest.raises(ValueError, match=r"shape \[1, 3, 8, 8\].*12, 12"):
        tower(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="values up to 255"):
        tower(torch.full((1, 3, 12, 12), 255.0))


def test_pixels_become_numbers_around_zero():
    image = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    torch.testing.assert_close(normalise(image).flatten(), torch.tensor([-1.0, -0.6, 1.0]))
    mean, std = (0.1, 0.2, 0.5), (0.5, 0.25, 0.2)
    torch.testing.assert_close(normalise(image, mean, std).flatten(), torch.tensor([-0.2, 0.0, 2.5]))
    assert image.flatten().tolist() == [0, 51, 255]


def doubled(config: TextConfig) -> TextTransformer:
    tower = TextTransformer(config).double().eval()
    for parameter in tower.parameters():
        nn.init.normal_(parameter, std=0.3)
    return tower


def caches(tower: TextTransformer, capacity: int = 7) -> list[dict[str, KVCache]]:
    return [{"attention": KVCache(capacity)} for _ in tower.blocks]


@torch.no_grad()
@pytest.mark.parametrize("seed", range(5))
def test_cached_decoding_equals_the_full_forward_wherever_the_text_is_cut(seed):
    tower, generator = doubled(TEXT), torch.Generator().manual_seed(seed)
    ids = torch.randint(20, (3, 7), generator=generator)
    cuts = [0, *(torch.rand(6, generator=generator) < 0.5).nonzero().flatten().add(1).tolist(), 7]
    memory, parts = caches(tower), []
    for first, last in itertools.pairwise(cuts):
        start = memory[0]["attention"].start
        assert start == first
        parts.append(tower.run(tower.embed(ids[:, first:last], start), Mask(causal=True), memory))
    torch.testing.assert_close(torch.cat(parts, 1), tower(ids), rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("prefix", [False, True])
def test_prompts_of_unlike_length_are_decoded_in_one_batch(seed, prefix):
    """Padded prompts, then one token a step for every row: each row as if it had been alone, without padding."""
    tower, generator = doubled(TEXT), torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 5, (4,), generator=generator)
    seen = (lengths + 1) // 2 if prefix else None
    rule = Mask(causal=True, prefix=seen)
    ids, more = torch.randint(20, (4, 7), generator=generator), 3
    memory = caches(tower)
    prompt = int(lengths.max())
    out = [tower.run(tower.embed(ids[:, :prompt]), rule, memory)]
    for cache in memory:
        cache["attention"].keep(lengths)
    for step in range(more):
        start = memory[0]["attention"].start
        assert start.tolist() == (lengths + step).tolist()
        token = ids.gather(1, start[:, None])  # whatever row b reads at its own position
        out.append(tower.run(tower.embed(token, start), rule, memory))
    for row, length in enumerate(lengths.tolist()):
        alone = Mask(causal=True, prefix=None if seen is None else seen[row : row + 1])
        expected = tower.run(tower.embed(ids[row : row + 1, : length + more]), alone)[0]
        found = torch.cat([out[0][row, :length], *(step[row] for step in out[1:])])
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_inputs_of_a_run_join_the_mask():
    tower, bias = doubled(TEXT.replace(causal=False)), torch.randn(1, 2, 5, 5).double()
    x = tower.embed(torch.randint(20, (2, 5)))
    found = tower.run(x, Mask(causal=True), attention={"bias": bias})
    y = x
    for block in tower.blocks:
        y = block(y, attention={"bias": bias, "mask": Mask(causal=True)})
    torch.testing.assert_close(found, tower.norm(y))
    assert not torch.allclose(found, tower.run(x, Mask(causal=True)))


def test_a_tower_is_made_of_the_blocks_it_is_given():
    """Every second block has a cross-attention, to which the tower hands its context; the last norm is the tower's."""

    def block(depth: int) -> Block:
        plain = dict(text_block(TEXT))
        if depth % 2:
            plain["cross"] = Residual(nn.LayerNorm(16), Attention(16, 2, context_width=5))
        return Block(**plain)

    tower, context = TextTransformer(TEXT.replace(layers=4), block).eval(), torch.randn(2, 3, 5)
    assert [list(one) for one in tower.blocks] == 2 * [["attention", "mlp"], ["attention", "mlp", "cross"]]
    x = y = tower.embed(torch.randint(20, (2, 5)))
    for depth, one in enumerate(tower.blocks):
        y = one(y, attention={"mask": Mask()}, **({"cross": {"context": context}} if depth % 2 else {}))
    torch.testing.assert_close(tower.run(x, Mask(), cross={"context": context}), tower.norm(y))
    with pytest.raises(ValueError, match="no block has a residual named crosss; its blocks have attention, mlp, cross"):
        tower.run(x, Mask(), crosss={"context": context})
    depths: list[int] = []
    VisionTransformer(VISION, lambda depth: depths.append(depth) or vision_block(VISION))
    assert depths == [0, 1]


def test_words_without_segments_and_from_a_position_on():
    config = BertConfig(vocabulary=20, context=7, types=0, width=12, layers=1, heads=2, hidden=18, word_std=0.5)
    embedding, ids = BertEmbedding(config), torch.randint(20, (3, 3))
    assert embedding.types is None and not any("types" in name for name in embedding.state_dict())
    start = torch.tensor([0, 4, 2])
    found = embedding(ids, start)
    for row, first in enumerate(start.tolist()):
        places = embedding.positions.weight[first : first + 3]
        torch.testing.assert_close(found[row], embedding.norm(embedding.words.weight[ids[row]] + places))
        torch.testing.assert_close(embedding(ids[row : row + 1], first)[0], found[row])
    with pytest.raises(ValueError, match="8 positions asked, the table holds 7"):
        embedding(ids, torch.tensor([0, 5, 2]))
