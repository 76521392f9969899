"""Pooling by attention against PyTorch's own multi-head module, and norms of what attention reads."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tinyvlm.layers import Attention, AttentionPooler, Mask


def shaken(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    return module.double()


@pytest.mark.parametrize("context_width", [None, 6])
@pytest.mark.parametrize(("queries", "heads"), [(1, 1), (5, 4)])
@torch.no_grad()
def test_the_pooler_is_pytorchs_attention_of_normalised_queries_to_normalised_tokens(queries, heads, context_width):
    pooler, width = shaken(AttentionPooler(queries, 8, heads, context_width, eps=1e-3)), context_width or 8
    theirs = nn.MultiheadAttention(8, heads, kdim=width, vdim=width, batch_first=True).double()
    attention = pooler.attention
    weights = [part.weight for part in (attention.q, attention.k, attention.v)]
    if context_width is None:
        theirs.in_proj_weight.copy_(torch.cat(weights))
    else:
        for name, weight in zip("qkv", weights, strict=True):
            getattr(theirs, f"{name}_proj_weight").copy_(weight)
    theirs.in_proj_bias.copy_(torch.cat([part.bias for part in (attention.q, attention.k, attention.v)]))
    theirs.out_proj.load_state_dict(attention.out.state_dict())
    tokens = 3 + 2 * torch.randn(3, 7, width).double()
    real = torch.arange(7)[None] < torch.tensor([7, 2, 5])[:, None]
    asked = F.layer_norm(pooler.queries, (8,), pooler.norm.weight, pooler.norm.bias, 1e-3).expand(3, -1, -1)
    norm = attention.context_norm
    read = F.layer_norm(tokens, (width,), norm.weight, norm.bias, 1e-3)
    expected = theirs(asked, read, read, key_padding_mask=~real)[0]
    torch.testing.assert_close(pooler(tokens, Mask(padding=real)), expected)
    torch.testing.assert_close(pooler(tokens), theirs(asked, read, read)[0])
    assert expected.shape == (3, queries, 8)


def test_queries_start_as_random_directions_and_learn():
    pooler = AttentionPooler(200, 16, 4, 6)
    assert pooler.queries.std().item() == pytest.approx(1, rel=0.05)
    pooler(torch.randn(2, 5, 6)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for name, parameter in pooler.named_parameters() if "k.bias" not in name)


@torch.no_grad()
def test_a_norm_of_the_context_touches_keys_and_values_only():
    norm = shaken(nn.LayerNorm(6))
    layer = shaken(Attention(8, 2, context_width=6, context_norm=norm))
    plain = Attention(8, 2, context_width=6).double()
    plain.load_state_dict({k: v for k, v in layer.state_dict().items() if not k.startswith("context_norm")})
    x, context = torch.randn(2, 3, 8).double(), torch.randn(2, 5, 6).double()
    torch.testing.assert_close(layer(x, context), plain(x, norm(context)))
    assert not torch.allclose(layer(x, context), plain(x, context))
    alone = shaken(Attention(8, 2, context_norm=nn.LayerNorm(8)))
    same = Attention(8, 2).double()
    same.load_state_dict({k: v for k, v in alone.state_dict().items() if not k.startswith("context_norm")})
    torch.testing.assert_close(alone(x), same(x, alone.context_norm(x)))
