"""What models share that compare a picture's vector with a text's, or say how well the two go together."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tinyvlm.layers.poolers import pool


class Matched:
    """Output with `matching` logits: no match, match."""

    matching: Float[Tensor, "b 2"]

    @property
    def score(self) -> Float[Tensor, " b"]:
        """How much rather the pair belongs together than not, as a logit."""
        return self.matching[:, 1] - self.matching[:, 0]


class UnitVectors(nn.Module):
    """Network with `image_tokens` and `text_tokens`, whose pooled and projected tokens are unit vectors."""

    config: Any
    image_projection: nn.Linear
    text_projection: nn.Linear
    image_tokens: Callable[..., Tensor]
    text_tokens: Callable[..., Tensor]

    def embed_image(self, tokens: Float[Tensor, "b k width"]) -> Float[Tensor, "b d"]:
        return F.normalize(self.image_projection(pool(tokens, self.config.pool)), dim=-1)

    def embed_text(self, tokens: Float[Tensor, "b n width"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b d"]:
        """`mask` is True at real tokens."""
        return F.normalize(self.text_projection(pool(tokens, self.config.pool, mask)), dim=-1)

    def encode_image(self, image: Float[Tensor, "b c size size"]) -> Float[Tensor, "b d"]:
        """Pictures as unit vectors."""
        return self.embed_image(self.image_tokens(image))

    def encode_text(self, ids: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b d"]:
        """Texts as unit vectors."""
        return self.embed_text(self.text_tokens(ids, mask), mask)
