"""The one attention: against a slow loop, fast path against reference path, masks, caches, recording."""

import math

import pytest
import torch
from torch import Tensor, nn

from tinyvlm.layers import Attention, KVCache, Mask, record_attention
from tinyvlm.layers.attention import fast_attention, reference_attention

BATCH, QUERIES, KEYS, WIDTH, HEADS = 3, 5, 7, 12, 3


def slow_attention(
    layer: Attention, x: Tensor, context: Tensor, allowed: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """Equation 1 of Vaswani et al., one query, one head and one key at a time, with Python's own softmax."""
    q, k, v = layer.q(x).detach(), layer.k(context).detach(), layer.v(context).detach()
    d = layer.head_width
    rows = []
    for b in range(len(x)):
        for i in range(x.shape[1]):
            heads = []
            for h in range(layer.heads):
                part = slice(h * d, (h + 1) * d)
                seen = [j for j in range(context.shape[1]) if allowed is None or allowed[b, h, i, j]]
                logits = []
                for j in seen:
                    logit = layer.scale * float((q[b, i, part] * k[b, j, part]).sum())
                    logits.append(logit + (0.0 if bias is None else float(bias[b, h, i, j])))
                total = sum(math.exp(logit) for logit in logits)
                value = torch.zeros(d, dtype=x.dtype)
                for j, logit in zip(seen, logits, strict=True):
                    value = value + math.exp(logit) / total * v[b, j, part]
                heads.append(value)
            rows.append(layer.out(torch.cat(heads)))
    return torch.stack(rows).unflatten(0, (len(x), x.shape[1]))


def padding(keys: int) -> Tensor:
    """Sample b keeps all but its last b keys."""
    return torch.arange(keys)[None] < keys - torch.arange(BATCH)[:, None]


def full(mask: Mask, queries: int, keys: int) -> Tensor | None:
    allowed = mask.resolve(queries, keys, torch.device("cpu"))
    return None if allowed is None else allowed.expand(BATCH, HEADS, queries, keys)


def some_pairs(queries: int, keys: int) -> Tensor:
    allowed = torch.rand(BATCH, HEADS, queries, keys) < 0.6
    allowed[..., 0] = True
    return allowed


SELF = {
    "free": lambda: (Mask(), None),
    "causal": lambda: (Mask(causal=True), None),
    "padding": lambda: (Mask(padding=padding(QUERIES)), None),
    "causal and padding": lambda: (Mask(causal=True, padding=padding(QUERIES)), None),
    "prefix": lambda: (Mask(causal=True, prefix=torch.tensor([0, 2, 4])), None),
    "any pairs": lambda: (Mask(allow=some_pairs(QUERIES, QUERIES)), None),
    "pairs shared by heads": lambda: (Mask(allow=some_pairs(QUERIES, QUERIES)[:, :1]), None),
    "bias": lambda: (Mask(), torch.randn(1, HEADS, QUERIES, QUERIES)),
    "bias without a batch axis": lambda: (Mask(), torch.randn(HEADS, QUERIES, QUERIES)),
    "bias and causal": lambda: (Mask(causal=True), torch.randn(BATCH, HEADS, QUERIES, QUERIES)),
    "everything": lambda: (
        Mask(True, torch.tensor([1, 0, 3]), padding(QUERIES), some_pairs(QUERIES, QUERIES)),
        torch.randn(1, HEADS, QUERIES, QUERIES),
    ),
}
LAYERS = {
    "plain": {},
    "scale 1": {"scale": 1.0},
    "wide heads": {"head_width": 7},
    "narrow heads": {"head_width": 2},
    "no key bias": {"k_bias": False},
    "no bias": {"q_bias": False, "k_bias": False, "v_bias": False, "out_bias": False},
}


def layer_with(**options) -> Attention:
    """All parameters well away from 0, biases included, so that none of them can be forgotten."""
    layer = Attention(WIDTH, HEADS, **options).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer


@pytest.mark.parametrize("options", LAYERS.values(), ids=LAYERS.keys())
@pytest.mark.parametrize("rules", SELF.values(), ids=SELF.keys())
def test_self_attention_is_the_formula(rules, options):
    mask, bias = rules()
    layer, x = layer_with(**options), torch.randn(BATCH, QUERIES, WIDTH, dtype=torch.double)
    bias = None if bias is None else bias.double()
    whole = None if bias is None else bias.expand(BATCH, HEADS, QUERIES, QUERIES)
    expected = slow_attention(layer, x, x, full(mask, QUERIES, QUERIES), whole)
    torch.testing.assert_close(layer(x, mask=mask, bias=bias), expected, rtol=1e-9, atol=1e-9)
    with record_attention(layer):
        torch.testing.assert_close(layer(x, mask=mask, bias=bias), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rule", ["free", "padding", "pairs", "causal"])
def test_cross_attention_is_the_formula(rule):
    layer = layer_with(context_width=10)
    x, context = torch.randn(BATCH, QUERIES, WIDTH).double(), torch.randn(BATCH, KEYS, 10).double()
    mask = {
        "free": Mask(),
        "padding": Mask(padding=padding(KEYS)),
        "pairs": Mask(allow=some_pairs(QUERIES, KEYS)),
        "causal": Mask(causal=True),
    }[rule]
    expected = slow_attention(layer, x, context, full(mask, QUERIES, KEYS))
    torch.testing.assert_close(layer(x, context, mask=mask), expected, rtol=1e-9, atol=1e-9)


def gradients(layer: Attention, recorded: bool, x: Tensor, context: Tensor | None, mask: Mask, bias: Tensor | None):
    inputs = [part.clone().requires_grad_() for part in (x, context, bias) if part is not None]
    queue = list(inputs)
    own = queue.pop(0)
    source = queue.pop(0) if context is not None else None
    added = queue.pop(0) if bias is not None else None
    weight = torch.linspace(-1, 2, own.numel()).reshape(own.shape).to(own)

    def run() -> Tensor:
        return layer(own, source, mask=mask, bias=added)

    if recorded:
        with record_attention(layer):
            out = run()
    else:
        out = run()
    return out, torch.autograd.grad((out * weight).sum(), [*inputs, *layer.parameters()])


@pytest.mark.parametrize("rules", SELF.values(), ids=SELF.keys())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_fast_and_reference_paths_agree_in_values_and_every_gradient(rules, dtype):
    mask, bias = rules()
    layer, x = layer_with().to(dtype), torch.randn(BATCH, QUERIES, WIDTH, dtype=dtype)
    bias = None if bias is None else bias.to(dtype)
    fast, fast_gradients = gradients(layer, False, x, None, mask, bias)
    slow, slow_gradients = gradients(layer, True, x, None, mask, bias)
    tolerance = 2e-5 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(fast, slow, rtol=tolerance, atol=tolerance)
    for one, other in zip(fast_gradients, slow_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=10 * tolerance, atol=tolerance)
    assert fast_gradients[0].abs().max() > 0


def test_fast_and_reference_paths_agree_across_streams():
    layer = layer_with(context_width=10, v_bias=False)
    x, context = torch.randn(BATCH, QUERIES, WIDTH).double(), torch.randn(BATCH, KEYS, 10).double()
    bias = torch.randn(1, HEADS, QUERIES, KEYS).double()
    for mask in (Mask(), Mask(padding=padding(KEYS)), Mask(allow=some_pairs(QUERIES, KEYS))):
        fast, fast_gradients = gradients(layer, False, x, context, mask, bias)
        slow, slow_gradients = gradients(layer, True, x, context, mask, bias)
        torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(fast_gradients, slow_gradients, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("path", ["fast", "reference"])
def test_gradients_are_those_of_finite_differences(path):
    q, k, v = (torch.randn(2, 2, n, 3, dtype=torch.double, requires_grad=True) for n in (3, 4, 4))
    bias = torch.randn(1, 2, 3, 4, dtype=torch.double, requires_grad=True)
    allowed = torch.rand(2, 1, 3, 4) < 0.6
    allowed[0, 0, 1] = False  # a query that may attend to nothing

    def run(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        if path == "fast":
            return fast_attention(q, k, v, allowed, bias, 0.7)
        return reference_attention(q, k, v, allowed, bias, 0.7)[0]

    assert torch.autograd.gradcheck(run, (q, k, v, bias))


@pytest.mark.parametrize("recorded", [False, True], ids=["fast", "reference"])
@pytest.mark.parametrize("with_bias", [False, True], ids=["no bias", "bias"])
def test_a_row_that_may_attend_to_nothing_is_zero_before_the_output_projection(recorded, with_bias):
    layer, x = layer_with().float(), torch.randn(BATCH, QUERIES, WIDTH)
    allow = torch.ones(BATCH, 1, QUERIES, QUERIES, dtype=torch.bool)
    allow[1, 0, 2] = False
    allow[2] = False
    bias = torch.randn(1, HEADS, QUERIES, QUERIES) if with_bias else None
    out, grads = gradients(layer, recorded, x, None, Mask(allow=allow), bias)
    torch.testing.assert_close(out[1, 2], layer.out.bias, rtol=0, atol=0)
    torch.testing.assert_close(out[2], layer.out.bias.expand(QUERIES, -1), rtol=0, atol=0)
    assert not torch.allclose(out[1, 1], layer.out.bias)
    assert all(torch.isfinite(gradient).all() for gradient in grads)
    assert (grads[0][2] == 0).all(), "a picture nobody looks at has no gradient"


@pytest.mark.parametrize("with_bias", [False, True], ids=["no bias", "bias"])
def test_no_kernel_ever_meets_an_empty_row(monkeypatch, with_bias):
    kernel, masks = torch.nn.functional.scaled_dot_product_attention, []

    def watched(*inputs, attn_mask, **options):
        masks.append(attn_mask)
        return kernel(*inputs, attn_mask=attn_mask, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    bias = torch.randn(1, HEADS, QUERIES, QUERIES) if with_bias else None
    allow = torch.eye(QUERIES, dtype=torch.bool)
    allow[2] = False
    layer_with().float()(torch.randn(1, QUERIES, WIDTH), mask=Mask(allow=allow), bias=bias)
    usable = masks[0].isfinite() if with_bias else masks[0]
    assert usable.any(-1).all() and not usable.all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_empty_rows_are_zero_in_half_precision_too(dtype):
    q, k, v = (torch.randn(2, 2, 4, 8).to(dtype) for _ in range(3))
    allowed = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    allowed[0, 0, 1] = False
    fast = fast_attention(q, k, v, allowed, None, 0.3)
    slow, weights = reference_attention(q, k, v, allowed, None, 0.3)
    assert (fast[0, :, 1] == 0).all() and (slow[0, :, 1] == 0).all() and (weights[0, :, 1] == 0).all()
    torch.testing.assert_close(fast, slow, rtol=2e-2, atol=2e-2)


def test_large_logits_do_not_overflow():
    q = torch.full((1, 1, 2, 4), 100.0)
    k = torch.stack([torch.full((4,), 100.0), torch.full((4,), -100.0)]).reshape(1, 1, 2, 4)
    v = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2).repeat(1, 1, 1, 2)
    allowed = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    for out in (fast_attention(q, k, v, allowed, None, 1.0), reference_attention(q, k, v, allowed, None, 1.0)[0]):
        torch.testing.assert_close(out, v[:, :, :1].expand_as(out))


@pytest.mark.parametrize("bare", [True, False], ids=["kernel's triangle", "resolved mask"])
def test_causal_attention_sees_no_later_token(bare):
    layer = layer_with()
    mask = Mask(causal=True) if bare else Mask(causal=True, padding=torch.ones(1, QUERIES, dtype=torch.bool))
    x = torch.randn(1, QUERIES, WIDTH).double()
    before = layer(x, mask=mask)
    for place in range(QUERIES):
        changed = x.clone()
        changed[:, place] += 1
        after = layer(changed, mask=mask)
        torch.testing.assert_close(after[:, :place], before[:, :place], rtol=0, atol=1e-12)
        assert (after[:, place:] - before[:, place:]).abs().amax(-1).min() > 1e-4, "later tokens do see it"


def test_padding_changes_nothing_for_real_tokens():
    layer, x = layer_with(), torch.randn(1, QUERIES, WIDTH).double()
    longer = torch.cat([x, 9 * torch.randn(1, 3, WIDTH).double()], 1)
    real = torch.arange(QUERIES + 3)[None] < QUERIES
    torch.testing.assert_close(layer(longer, mask=Mask(padding=real))[:, :QUERIES], layer(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("steps", [[1] * 6, [3, 1, 1, 1], [2, 3, 1], [6]], ids=str)
def test_cached_decoding_equals_the_full_forward(steps):
    layer, x, cache = layer_with(), torch.randn(BATCH, 6, WIDTH).double(), KVCache(8)
    full_forward = layer(x, mask=Mask(causal=True))
    parts, first = [], 0
    with torch.no_grad():
        for step in steps:
            parts.append(layer(x[:, first : first + step], mask=Mask(causal=True), cache=cache))
            first += step
            assert cache.length == first
    torch.testing.assert_close(torch.cat(parts, 1), full_forward, rtol=1e-10, atol=1e-10)


def test_cached_decoding_with_prefix_and_padding_equals_the_full_forward():
    layer, x, cache = layer_with(), torch.randn(BATCH, 6, WIDTH).double(), KVCache(6)
    real = torch.ones(BATCH, 6, dtype=torch.bool)
    real[1, 1] = real[2, 0] = False
    prefix = torch.tensor([3, 2, 3])
    expected = layer(x, mask=Mask(causal=True, prefix=prefix, padding=real))
    with torch.no_grad():
        parts = [layer(x[:, :3], mask=Mask(True, prefix, real[:, :3]), cache=cache)]
        for place in range(3, 6):
            rule = Mask(True, prefix, real[:, : place + 1])
            parts.append(layer(x[:, place : place + 1], mask=rule, cache=cache))
    torch.testing.assert_close(torch.cat(parts, 1), expected, rtol=1e-10, atol=1e-10)


def test_static_cache_keeps_the_first_context_and_skips_its_projections():
    layer, cache = layer_with(context_width=10), KVCache(KEYS, static=True)
    x, context = torch.randn(BATCH, QUERIES, WIDTH).double(), torch.randn(BATCH, KEYS, 10).double()
    calls = []
    layer.k.register_forward_hook(lambda *_: calls.append("k"))
    layer.v.register_forward_hook(lambda *_: calls.append("v"))
    with torch.no_grad():
        expected = layer(x, context)
        calls.clear()
        first = layer(x[:, :2], context, cache=cache)
        later = layer(x[:, 2:], context, cache=cache)
        elsewhere = layer(x[:, 2:], torch.zeros_like(context), cache=cache)
    torch.testing.assert_close(torch.cat([first, later], 1), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(elsewhere, later, rtol=0, atol=0)
    assert calls == ["k", "v"] and cache.length == KEYS


def test_attention_weights_of_a_recorded_call():
    model = nn.Sequential(layer_with(), nn.Linear(WIDTH, WIDTH).double(), layer_with())
    x = torch.randn(BATCH, QUERIES, WIDTH).double()
    before = model(x)
    with record_attention(model) as maps:
        during = model(x)
        model(x)
    assert set(maps) == {"0", "2"} and [len(kept) for kept in maps.values()] == [2, 2]
    weights = maps["2"][0]
    assert weights.shape == (BATCH, HEADS, QUERIES, QUERIES) and not weights.requires_grad
    torch.testing.assert_close(weights.sum(-1), torch.ones(BATCH, HEADS, QUERIES).double())
    assert (weights >= 0).all() and not torch.equal(weights, maps["0"][0])
    torch.testing.assert_close(during, before, rtol=1e-10, atol=1e-10)
    model(x)
    assert len(maps["0"]) == 2, "afterwards nothing is recorded"


def test_recorded_weights_are_the_softmax():
    layer, x = layer_with(), torch.randn(1, 3, WIDTH).double()
    with record_attention(layer) as maps:
        layer(x, mask=Mask(causal=True))
    q, k = layer.q(x), layer.k(x)
    d = layer.head_width
    for h in range(HEADS):
        logits = q[0, :, h * d : (h + 1) * d] @ k[0, :, h * d : (h + 1) * d].T / d**0.5
        logits = logits.masked_fill(torch.ones(3, 3).triu(1).bool(), -torch.inf)
        torch.testing.assert_close(maps[""][0][0, h], logits.softmax(-1).detach())


def test_recording_ends_with_an_error_and_leaves_an_outer_recording_alone():
    layer, x = layer_with(), torch.randn(1, 3, WIDTH).double()
    with pytest.raises(RuntimeError, match="boom"), record_attention(layer):
        raise RuntimeError("boom")
    assert layer.recorder is None
    with record_attention(layer) as outer:
        with record_attention(layer) as inner:
            layer(x)
        layer(x)
    assert len(inner[""]) == 1 and len(outer[""]) == 1
    assert layer.recorder is None


def test_recording_a_model_without_attention_says_so():
    with pytest.raises(ValueError, match="Linear holds no Attention"), record_attention(nn.Linear(2, 2)):
        pass


def test_dropout_acts_in_training_only():
    layer, x = Attention(WIDTH, HEADS, dropout=0.5), torch.randn(2, 9, WIDTH)
    layer.eval()
    assert torch.equal(layer(x), layer(x))
    calm = layer(x)
    layer.train()
    noisy = layer(x)
    assert not torch.equal(noisy, layer(x)) and not torch.allclose(noisy, calm)
    with record_attention(layer):
        torch.testing.assert_close(layer(x), calm, rtol=1e-4, atol=1e-5)
    # Weights are rescaled, so that the mean over many draws is the undisturbed output.
    mean = torch.stack([layer(x) for _ in range(3000)]).mean(0)
    torch.testing.assert_close(mean, calm, rtol=0, atol=0.05)


def test_width_not_divisible_by_heads():
    with pytest.raises(ValueError, match="width 10 is not divisible by 3 heads; give head_width"):
        Attention(10, 3)
    assert Attention(10, 3, head_width=4).q.weight.shape == (12, 10)


def test_biases_are_there_only_where_asked():
    layer = Attention(WIDTH, HEADS, q_bias=True, k_bias=False, v_bias=True, out_bias=False)
    assert [part.bias is not None for part in (layer.q, layer.k, layer.v, layer.out)] == [True, False, True, False]
