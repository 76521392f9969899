"""The pre-norm text Transformer as a tower: ids in, tokens out (GPT-2 style, as in CLIP, section 2.4)."""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tinyvlm.config import Config
from tinyvlm.encoders.blocks import transformer_block
from tinyvlm.layers import Mask, Positions, Stack


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


class TextTransformer(nn.Module):
    def __init__(self, config: TextConfig):
        super().__init__()
        self.config, width = config, config.width
        self.words = nn.Embedding(config.vocabulary, width)
        nn.init.normal_(self.words.weight, std=config.token_std)
        self.positions = Positions(config.context, width, config.position_std)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = Stack(
            transformer_block(
                width,
                config.heads,
                config.hidden,
                activation=config.activation,
                eps=config.eps,
                dropout=config.dropout,
            )
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width, config.eps)

    def forward(self, ids: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"] | None = None) -> Float[Tensor, "b n width"]:
        """Normalised output tokens. `mask` is True at real tokens; padding must stand at the end."""
        if ids.shape[1] > self.config.context:
            raise ValueError(
                f"text has {ids.shape[1]} tokens, this model reads at most {self.config.context}; truncate it first"
            )
        # Under the causal rule no real token sees the padding behind it, so that the triangle alone is enough and
        # the kernel's causal path stays open.
        rule = Mask(causal=True) if self.config.causal else Mask(padding=mask)
        x = self.dropout(self.positions(self.words(ids)))
        return self.norm(self.blocks(x, attention={"mask": rule}))
