"""Keys and values of positions already seen, so that decoding a token costs one position and not all of them."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


class KVCache:
    """Memory of one attention layer.

    A growing cache (`static=False`) belongs to self-attention: every call appends. A static one belongs to
    cross-attention: the image's keys and values are computed at the first call and reused afterwards.
    Storage is taken once for `capacity` positions, because concatenating at each step copies everything each step.

    Prompts of unlike length, padded behind, go through the layer as one batch; `keep` then forgets the padding, and
    every row goes on where its own prompt ended. `length` is that of the longest row; `lengths`, one per row, is None
    while all rows are alike.
    """

    def __init__(self, capacity: int, static: bool = False):
        if capacity < 1:
            raise ValueError(f"KVCache: capacity is {capacity}; it must hold at least 1 position")
        self.capacity, self.static, self.length = capacity, static, 0
        self.lengths: Int[Tensor, " b"] | None = None
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    @property
    def ready(self) -> bool:
        """True when a static cache is filled and the projections of the context can be skipped."""
        return self.static and self.length > 0

    @property
    def start(self) -> int | Int[Tensor, " b"]:
        """Position of the next token: one number while all rows are alike, else one per row."""
        return self.length if self.lengths is None else self.lengths

    def append(
        self, keys: Float[Tensor, "b h n d"], values: Float[Tensor, "b h n d"]
    ) -> tuple[Float[Tensor, "b h m d"], Float[Tensor, "b h m d"]]:
        """Store `n` more positions a row; returns all stored so far. ValueError when they do not fit."""
        count = keys.shape[2]
        new = self.length + count
        if new > self.capacity:
            raise ValueError(f"KVCache: {new} positions do not fit its capacity of {self.capacity}; make it larger")
        if self.keys is None or self.values is None:
            shape = (*keys.shape[:2], self.capacity, keys.shape[3])
            # Zeros, because what stands behind a short row is masked, and a mask makes no NaN harmless.
            self.keys, self.values = keys.new_zeros(shape), values.new_zeros(shape)
        if self.lengths is None:
            self.keys[:, :, self.length : new], self.values[:, :, self.length : new] = keys, values
        else:
            rows = torch.arange(len(keys), device=keys.device)[:, None]
            places = self.lengths[:, None] + torch.arange(count, device=keys.device)
            self.keys[rows, :, places], self.values[rows, :, places] = keys.transpose(1, 2), values.transpose(1, 2)
            self.lengths = self.lengths + count
        self.length = new
        return self.read()

    def read(self) -> tuple[Tensor, Tensor]:
        """Stored keys and values, each [batch, heads, length, head width]."""
        if self.keys is None or self.values is None:
            raise ValueError("KVCache: nothing stored yet; run the layer once with this cache")
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def keep(self, lengths: Int[Tensor, " b"]) -> None:
        """Row b keeps its first `lengths[b]` positions and goes on behind them. ValueError for more than are stored."""
        longest = int(lengths.max())
        if longest > self.length:
            raise ValueError(f"KVCache: {longest} positions are to be kept of {self.length} stored; keep at most those")
        self.length, self.lengths = longest, lengths

    def reorder(self, rows: Int[Tensor, " m"]) -> None:
        """Keep the batch rows `rows`, in that order (beam search)."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = torch.index_select(self.keys, 0, rows), torch.index_select(self.values, 0, rows)
        if self.lengths is not None:
            self.lengths = self.lengths[rows]
