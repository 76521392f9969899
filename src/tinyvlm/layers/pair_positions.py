"""Relative position biases for words, patches and both in one row (VLMo, arXiv 2111.02358, as its code has them)."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from tinyvlm.layers.positions import RelativePositions


class PairPositions(nn.Module):
    """A bias per layer and head for each offset between two tokens of a text, of a picture, or of one and the other.

    The first token of a text and of a picture is its class token. One table serves all layers, a column a layer and
    head. Its rows, in order: the picture's as in `RelativePositions`, (2 side - 1)^2 + 3; two constants, from words to
    patches and from patches to words; the text's, 2 * words: 2 * words - 3 offsets and those of the pairs (class,
    word), (word, class) and (class, class). With 14 patches a side and 196 words these are 1,126. It starts at 0.
    """

    image_index: Tensor
    text_index: Tensor

    def __init__(self, side: int, words: int, heads: int, layers: int):
        super().__init__()
        if words < 2:
            raise ValueError(f"PairPositions: a text of {words} tokens has no offsets; give words at least 2")
        self.layers, self.words = layers, words
        first = (2 * side - 1) ** 2 + 3  # of the two constants; the text's rows follow
        rows = first + 2 + 2 * words
        self.table = nn.Parameter(torch.zeros(rows, layers * heads))
        self.to_patches, self.to_words = first, first + 1
        # Explicitly on the CPU: a model that is built on the meta device before it is loaded has to know it too.
        place = torch.arange(words - 1, device="cpu")
        text = F.pad(place - place[:, None] + first + words, (1, 0, 1, 0))
        text[0], text[:, 0], text[0, 0] = rows - 3, rows - 2, rows - 1
        self.register_buffer("image_index", RelativePositions(side, 1).index, persistent=False)
        self.register_buffer("text_index", text, persistent=False)

    def index(self, words: int, image: bool) -> Int[Tensor, "n n"]:
        """Row of the table for each pair of tokens: `words` of a text, then the picture's where `image` says so."""
        if words > self.words:
            raise ValueError(f"PairPositions: the text has {words} tokens, the table knows {self.words}; shorten it")
        text = self.text_index[:words, :words]
        if not image:
            return text
        seen = len(self.image_index)
        upper = torch.cat([text, text.new_full((words, seen), self.to_patches)], 1)
        lower = torch.cat([text.new_full((seen, words), self.to_words), self.image_index], 1)
        return torch.cat([upper, lower])

    def forward(self, words: int, image: bool) -> Float[Tensor, "layers 1 heads n n"]:
        """The bias of each layer, for a row of `words` tokens of a text, then a picture where `image` says so."""
        return rearrange(self.table[self.index(words, image)], "q k (l h) -> l 1 h q k", l=self.layers)
