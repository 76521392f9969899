"""BERT's parts: its input, its post-norm blocks, its pooler and its word predictor (Devlin et al., arXiv 1810.04805).

    LayerNorm(word + place + segment) -> post-norm blocks -> tokens

Pixel-BERT puts pictures into the same blocks; ALBEF gives the upper half of them cross-attention. So these are parts,
and the papers' files put them together.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from tinyvlm.config import Config
from tinyvlm.layers import Attention, Block, FeedForward, Positions, Residual, Stack
from tinyvlm.layers.positions import Start


@dataclass(frozen=True)
class BertConfig(Config):
    """BERT-base by default. `types` counts segments, 0 for no table of them; `std` is that of dense weights and the
    segment table, `word_std` that of word and position tables. `placement="pre"` moves the norms into the branches."""

    vocabulary: int = 30522
    context: int = 512
    types: int = 2
    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    eps: float = 1e-12
    placement: Literal["pre", "post"] = "post"
    std: float = 0.02
    word_std: float = 0.02
    dropout: float = 0.0


class BertEmbedding(nn.Module):
    """LayerNorm(word + place + segment); all words here are of segment 0, where there are segments."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.context = config.context
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.positions = Positions(config.context, config.width, config.word_std)
        self.types = nn.Embedding(config.types, config.width) if config.types else None
        self.norm = nn.LayerNorm(config.width, config.eps)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.normal_(self.words.weight, std=config.word_std)
        if self.types is not None:
            nn.init.normal_(self.types.weight, std=config.std)

    def forward(self, ids: Int[Tensor, "b n"], start: Start = 0) -> Float[Tensor, "b n width"]:
        """`start` is the position of the first word, for all rows or for each."""
        if ids.shape[1] > self.context:
            raise ValueError(
                f"text has {ids.shape[1]} tokens, this model reads at most {self.context}; truncate it first"
            )
        words = self.words(ids)
        if self.types is not None:
            words = words + self.types.weight[0]
        return self.dropout(self.norm(self.positions(words, start)))


def bert_block(config: BertConfig) -> Block:
    """BERT's layer: attention and feed-forward, dropout behind every dense layer but q, k, v."""

    def residual(branch: nn.Module) -> Residual:
        norm = nn.LayerNorm(config.width, config.eps)
        return Residual(norm, branch, placement=config.placement, dropout=config.dropout)

    return Block(
        attention=residual(Attention(config.width, config.heads)),
        mlp=residual(FeedForward(config.width, config.hidden, dropout=config.dropout)),
    )


def bert_blocks(config: BertConfig, layers: int | None = None) -> Stack:
    """`layers` of BERT's blocks, all by default."""
    return Stack(bert_block(config) for _ in range(config.layers if layers is None else layers))


def last_norm(config: BertConfig) -> nn.Module:
    """What stands behind the last block: nothing in post-norm, a LayerNorm in pre-norm."""
    return nn.LayerNorm(config.width, config.eps) if config.placement == "pre" else nn.Identity()


class BertPooler(nn.Module):
    """tanh(W x + b) of the vector that stands for the whole text: in BERT the first token's."""

    def __init__(self, width: int):
        super().__init__()
        self.dense = nn.Linear(width, width)

    def forward(self, pooled: Float[Tensor, "b width"]) -> Float[Tensor, "b width"]:
        return torch.tanh(self.dense(pooled))


class WordPredictor(nn.Module):
    """The head of masked language modelling: dense, GELU, LayerNorm, then the word table itself as output layer."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.dense = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width, config.eps)
        self.bias = nn.Parameter(torch.zeros(config.vocabulary))

    def forward(self, tokens: Float[Tensor, "m width"], words: nn.Embedding) -> Float[Tensor, "m vocabulary"]:
        return F.linear(self.norm(F.gelu(self.dense(tokens))), words.weight, self.bias)
