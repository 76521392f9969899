"""Keys and values of positions already seen, so that decoding a token costs one position and not all of them."""

import torch
from jaxtyping import Float
from torch import Tensor


class KVCache:
    """Memory of one attention layer.

    A growing cache (`static=False`) belongs to self-attention: every call appends. A static one belongs to
    cross-attention: the image's keys and values are computed at the first call and reused afterwards.
    Storage is taken once for `capacity` positions, because concatenating at each step copies everything each step.
    """

    def __init__(self, capacity: int, static: bool = False):
        if capacity < 1:
            raise ValueError(f"KVCache: capacity is {capacity}; it must hold at least 1 position")
        self.capacity, self.static, self.length = capacity, static, 0
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    @property
    def ready(self) -> bool:
        """True when a static cache is filled and the projections of the context can be skipped."""
        return self.static and self.length > 0

    def append(
        self, keys: Float[Tensor, "b h n d"], values: Float[Tensor, "b h n d"]
    ) -> tuple[Float[Tensor, "b h m d"], Float[Tensor, "b h m d"]]:
        """Store `n` more positions; returns all stored so far. ValueError when they do not fit."""
        new = self.length + keys.shape[2]
        if new > self.capacity:
            raise ValueError(f"KVCache: {new} positions do not fit its capacity of {self.capacity}; make it larger")
        if self.keys is None or self.values is None:
            shape = (*keys.shape[:2], self.capacity, keys.shape[3])
            self.keys, self.values = keys.new_empty(shape), values.new_empty(shape)
        self.keys[:, :, self.length : new] = keys
        self.values[:, :, self.length : new] = values
        self.length = new
        return self.read()

    def read(self) -> tuple[Tensor, Tensor]:
        """Stored keys and values, each [batch, heads, length, head width]."""
        if self.keys is None or self.values is None:
            raise ValueError("KVCache: nothing stored yet; run the layer once with this cache")
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def reorder(self, rows: Tensor) -> None:
        """Keep the batch rows `rows`, in that order (beam search)."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = torch.index_select(self.keys, 0, rows), torch.index_select(self.values, 0, rows)
