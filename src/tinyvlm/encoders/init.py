"""Initial weights, as the papers' code draws them."""

import torch
from torch import nn

from tinyvlm.layers import Attention, FeedForward, Stack


@torch.no_grad()
def init_xavier(blocks: Stack) -> None:
    """ViT (official code): Xavier-uniform weights everywhere, feed-forward biases N(0, 1e-6), attention biases 0."""
    for module in blocks.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    # Afterwards: `modules` visits a feed-forward before its two linears, which would set these back to 0.
    for module in blocks.modules():
        if isinstance(module, FeedForward):
            for linear in (module.up, module.down):
                if linear.bias is not None:
                    nn.init.normal_(linear.bias, std=1e-6)


@torch.no_grad()
def init_by_width(blocks: Stack, width: int) -> None:
    """CLIP (official code, text side): N(0, std) with std set by width D and depth L, biases 0.

    q, k, v: D^-1/2; outputs of attention and feed-forward: D^-1/2 (2L)^-1/2; feed-forward input: (2D)^-1/2.
    """
    into, back = width**-0.5, width**-0.5 * (2 * len(blocks)) ** -0.5
    for module in blocks.modules():
        if isinstance(module, Attention):
            stds = {module.q: into, module.k: into, module.v: into, module.out: back}
        elif isinstance(module, FeedForward):
            stds = {module.up: (2 * width) ** -0.5, module.down: back}
        else:
            continue
        for linear, std in stds.items():
            nn.init.normal_(linear.weight, std=std)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)


@torch.no_grad()
def init_normal(module: nn.Module, std: float) -> None:
    """BERT as `transformers` draws it: dense weights N(0, std), biases 0 (the official code cuts off at 2 std).

    Embeddings and norms draw their own.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
