"""The one attention of the course: self and cross, fast and spelled out, recorded and cached.

Vaswani et al. 2017, eq. 1: softmax(q k^T / sqrt(d)) v, over `heads` projections of width `d`. Every paper of the
course uses this module; what differs between them are the arguments: whose keys (context), which pairs (mask), which
biases, which scale.

A query that may attend to nothing returns 0 (before the output projection). Backends disagree about such rows
(zeros, NaN, or the mean of everything), so it is settled here.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tinyvlm.layers.cache import KVCache
from tinyvlm.layers.masks import Mask

Recorder = Callable[[Tensor], None]


def reference_attention(
    q: Float[Tensor, "b h q d"],
    k: Float[Tensor, "b h k d"],
    v: Float[Tensor, "b h k d"],
    allowed: Bool[Tensor, "..."] | None,
    bias: Float[Tensor, "..."] | None,
    scale: float,
) -> tuple[Float[Tensor, "b h q d"], Float[Tensor, "b h q k"]]:
    """Attention as the formula says it. Returns (values, weights); rows that may attend to nothing are 0 in both."""
    logits = scale * (q @ k.transpose(-2, -1))
    if bias is not None:
        logits = logits + bias
    if allowed is None:
        weights = logits.softmax(-1)
    else:
        # A row of -inf has no softmax (0/0): shift by a finite maximum, exponentiate, divide by at least 1, which no
        # other row falls below, as its maximum contributes exp(0).
        logits = logits.masked_fill(~allowed, -torch.inf)
        shift = logits.amax(-1, keepdim=True).clamp_min(torch.finfo(logits.dtype).min).detach()
        exponentials = (logits - shift).exp()
        weights = exponentials / exponentials.sum(-1, keepdim=True).clamp_min(1.0)
    return weights @ v, weights


def fast_attention(
    q: Float[Tensor, "b h q d"],
    k: Float[Tensor, "b h k d"],
    v: Float[Tensor, "b h k d"],
    allowed: Bool[Tensor, "..."] | None,
    bias: Float[Tensor, "..."] | None,
    scale: float,
    dropout: float = 0.0,
    causal: bool = False,
) -> Float[Tensor, "b h q d"]:
    """The same through PyTorch's fused kernels."""
    if allowed is None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout, is_causal=causal, scale=scale)
    dead = ~allowed.any(-1, keepdim=True)
    # Let an empty row attend to everything and erase the result: no kernel then meets a row of -inf, whose gradient
    # is NaN on some of them.
    open_rows = allowed | dead
    mask = open_rows if bias is None else torch.where(open_rows, bias, -torch.inf).to(q.dtype)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=scale)
    return out.masked_fill(dead, 0.0)


class Attention(nn.Module):
    """Multi-head attention.

    Args:
        width: width of the queries' stream and of the output.
        heads: number of heads.
        context_width: width of the keys' and values' stream when it differs (cross-attention).
        context_norm: normalises what keys and values are made of (CoCa's poolers, Flamingo's resampler).
        head_width: width of one head; `width / heads` when None.
        q_bias, k_bias, v_bias, out_bias: which projections carry a bias (BEiT and VLMo have none on the keys).
        scale: factor on the logits; `head_width ** -0.5` when None (T5 uses 1).
        dropout: on the weights, in training only.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        context_width: int | None = None,
        context_norm: nn.Module | None = None,
        head_width: int | None = None,
        q_bias: bool = True,
        k_bias: bool = True,
        v_bias: bool = True,
        out_bias: bool = True,
        scale: float | None = None,
        dropout: float = 0.0,
    ):
        super().__init__()
        if head_width is None and width % heads:
            raise ValueError(
                f"Attention: width {width} is not divisible by {heads} heads; give head_width or change one"
            )
        self.heads, self.head_width = heads, head_width or width // heads
        inner, context_width = heads * self.head_width, context_width or width
        self.context_norm = nn.Identity() if context_norm is None else context_norm
        self.q = nn.Linear(width, inner, bias=q_bias)
        self.k = nn.Linear(context_width, inner, bias=k_bias)
        self.v = nn.Linear(context_width, inner, bias=v_bias)
        self.out = nn.Linear(inner, width, bias=out_bias)
        self.scale = 1 / math.sqrt(self.head_width) if scale is None else scale
        self.dropout = dropout
        self.recorder: Recorder | None = None

    def forward(
        self,
        x: Float[Tensor, "b q width"],
        context: Float[Tensor, "b k context_width"] | None = None,
        *,
        mask: Mask | None = None,
        bias: Float[Tensor, "..."] | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "b q width"]:
        """Queries of `x`, keys and values of `context` (or `x`); `bias` joins the logits, broadcast to [b, h, q, k]."""
        q, starts = self._split(self.q(x)), None
        if cache is not None and cache.ready:
            k, v = cache.read()
        else:
            source = self.context_norm(x if context is None else context)
            k, v = self._split(self.k(source)), self._split(self.v(source))
            if cache is not None:
                starts = cache.lengths
                k, v = cache.append(k, v)
        return self.out(rearrange(self._attend(q, k, v, mask or Mask(), bias, starts), "b h q d -> b q (h d)"))

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Tensor | None, starts: Tensor | None
    ) -> Tensor:
        queries, keys = q.shape[2], k.shape[2]
        # The kernel's causal path counts from the first key, ours from the last: they agree on square shapes only.
        triangle = mask.only_causal and queries == keys and starts is None and bias is None and self.recorder is None
        allowed = None if triangle else mask.resolve(queries, keys, q.device, starts)
        if self.recorder is not None:
            out, weights = reference_attention(q, k, v, allowed, bias, self.scale)
            self.recorder(weights)
            return out
        dropout = self.dropout if self.training else 0.0
        return fast_attention(q, k, v, allowed, bias, self.scale, dropout, causal=triangle)

    def _split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b n (h d) -> b h n d", h=self.heads)


@contextmanager
def record_attention(model: nn.Module, graph: bool = False) -> Iterator[dict[str, list[Tensor]]]:
    """Collect attention maps: `with record_attention(model) as maps: model(x)`.

    `maps[name of the attention module]` is a list, one [batch, heads, queries, keys] tensor per call. Inside the
    block attention takes the reference path, without dropout; afterwards everything is as before. With `graph` the maps
    stay part of autograd's graph, so that a score's gradient with respect to them can be asked for (Grad-CAM).
    """
    modules = {name: module for name, module in model.named_modules() if isinstance(module, Attention)}
    if not modules:
        raise ValueError(f"record_attention: {type(model).__name__} holds no Attention; hand in a model that has one")
    maps: dict[str, list[Tensor]] = {name: [] for name in modules}
    before = {name: module.recorder for name, module in modules.items()}
    try:
        for name, module in modules.items():
            module.recorder = maps[name].append if graph else _detached(maps[name])
        yield maps
    finally:
        for name, module in modules.items():
            module.recorder = before[name]


def _detached(maps: list[Tensor]) -> Recorder:
    return lambda weights: maps.append(weights.detach())
