"""Who may attend to whom: causal, prefix and padding rules merged in one place.

One convention in the whole course: a boolean mask, **True = may attend**. PyTorch alone has three (boolean True =
attend in its fused function, boolean True = ignore in its multi-head module, additive -inf), and mixing them goes
unnoticed, because the shapes agree.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class Mask:
    """Rules of attention; a pair (query, key) is allowed when every rule allows it.

    causal:  a query sees no later key. With a KV cache the queries are the *last* positions of the keys.
    prefix:  the first `prefix[b]` keys are visible to every query all the same (prefix-LM; needs `causal`).
    padding: [batch, keys], True = a real key.
    allow:   any further rule, broadcastable to [batch, heads, queries, keys].
    """

    causal: bool = False
    prefix: Int[Tensor, " batch"] | None = None
    padding: Bool[Tensor, "batch keys"] | None = None
    allow: Bool[Tensor, "..."] | None = None

    def __post_init__(self) -> None:
        for name, rule in (("padding", self.padding), ("allow", self.allow)):
            if rule is not None and rule.dtype != torch.bool:
                raise ValueError(f"Mask: {name} is {rule.dtype}; True = may attend: convert it with .bool()")

    @property
    def only_causal(self) -> bool:
        """Nothing but the triangle: attention can then take the kernel's own causal path, without a mask."""
        return self.causal and self.prefix is None and self.padding is None and self.allow is None

    def resolve(
        self, queries: int, keys: int, device: torch.device, starts: Int[Tensor, " batch"] | None = None
    ) -> Bool[Tensor, "..."] | None:
        """The rules as one tensor broadcastable to [batch, heads, queries, keys]; None when all is allowed.

        `starts` is the position of each row's first query where a cache holds rows of unlike length: row b then has
        `starts[b] + queries` keys, and what the memory holds behind them is nobody's.
        """
        parts: list[Tensor] = []
        if starts is not None:
            parts.append((torch.arange(keys, device=device) < starts[:, None] + queries)[:, None, None, :])
        if self.causal:
            key = torch.arange(keys, device=device)
            first = keys - queries if starts is None else starts[:, None, None]
            query = first + torch.arange(queries, device=device)[:, None]
            seen = key <= query  # [queries, keys], or [batch, queries, keys]
            seen = seen[None, None] if starts is None else seen[:, None]
            if self.prefix is not None:
                seen = seen | (key < self.prefix[:, None])[:, None, None, :]
            parts.append(seen)
        elif self.prefix is not None:
            raise ValueError("Mask: a prefix loosens the causal rule, so it needs causal=True (or leave prefix out)")
        if self.padding is not None:
            if self.padding.shape[-1] != keys:
                raise ValueError(
                    f"Mask: padding covers {self.padding.shape[-1]} keys but there are {keys}; "
                    "with a cache, pass the padding of all keys so far"
                )
            parts.append(self.padding[:, None, None, :])
        if self.allow is not None:
            parts.append(self.allow)
        if not parts:
            return None
        allowed = parts[0]
        for part in parts[1:]:
            allowed = allowed & part
        return allowed
