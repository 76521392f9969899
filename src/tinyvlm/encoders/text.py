"""The pre-norm text Transformer as a tower: ids in, tokens out (GPT-2 style, as in CLIP, section 2.4)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tinyvlm.config import Config
from tinyvlm.layers import Attention, Block, FeedForward, Mask, Positions, Residual, Stack
from tinyvlm.layers.positions import Start


@dataclass(frozen=True)
class TextConfig(Config):
    """`context` is the longest text in tokens; `causal` towers read left to right, others both ways."""

    vocabulary: int = 49408
    context: int = 77
    width: int = 512
    layers: int = 12
    heads: int = 8
    hidden: int = 2048
    activation: str = "gelu"
    eps: float = 1e-5
    causal: bool = True
    token_std: float = 0.02
    position_std: float = 0.01
    dropout: float = 0.0


def text_block(config: TextConfig) -> Block:
    """The tower's plain block: pre-norm attention and feed-forward, dropout behind every dense layer but q, k, v."""

    def residual(branch: nn.Module) -> Residual:
        return Residual(nn.LayerNorm(config.width, config.eps), branch, dropout=config.dropout)

    return Block(
        attention=residual(Attention(config.width, config.heads)),
        mlp=residual(FeedForward(config.width, config.hidden, config.activation, dropout=config.dropout)),
    )


class TextTransformer(nn.Module):
    """embed -> run. `block(depth)` makes the block at a depth, `text_block` by default."""

    def __init__(self, config: TextConfig, block: Callable[[int], Block] | None = None):
        super().__init__()
        self.config, width = config, config.width
        self.words = nn.Embedding(config.vocabulary, width)
        nn.init.normal_(self.words.weight, std=config.token_std)
        self.positions = Positions(config.context, width, config.position_std)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = Stack(text_block(config) if block is None else block(depth) for depth in range(config.layers))
        self.norm = nn.LayerNorm(width, config.eps)

    def embed(self, ids: Int[Tensor, "b n"], start: Start = 0) -> Float[Tensor, "b n width"]:
        """Words with their positions, of which `start` is the first, for all rows or for each."""
        if ids.shape[1] > self.config.context:
            raise ValueError(
                f"text has {ids.shape[1]} tokens, this model reads at most {self.config.context}; truncate it first"
            )
        return self.dropout(self.positions(self.words(ids), start))

    def run(
        self, x: Float[Tensor, "b n width"], mask: Mask, caches: Sequence[dict] | None = None, **inputs: Any
    ) -> Float[Tensor, "b n width"]:
        """Normalised output tokens of embedded ones, whatever they are; `inputs` go to the blocks, see `Stack`.

        With `caches`, one {"attention": KVCache} per block, `x` are the next tokens only, embedded from the cache's
        `start` on.
        """
        attention = {"mask": mask, **inputs.pop("attention", {})}
        return self.norm(self.blocks(x, caches, attention=attention, **inputs))

    def forward(self, ids: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"] | None = None) -> Float[Tensor, "b n width"]:
        """Normalised output tokens. `mask` is True at real tokens; padding must stand at the end."""
        # Under the causal rule no real token sees the padding behind it, so that the triangle alone is enough and
        # the kernel's causal path stays open.
        return self.run(self.embed(ids), Mask(causal=True) if self.config.causal else Mask(padding=mask))
