"""Who may attend to whom, drawn from the mask itself."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from tinyvlm.viz.svg import Box, Drawing, Pen, svg

CELL = 20
LETTER = 7.3  # units of a 12-unit monospace letter


class Resolves(Protocol):
    """A `layers.Mask`."""

    def resolve(self, queries: int, keys: int, device: torch.device) -> Any: ...


def mask_picture(mask: Resolves, queries: int | Sequence[str], keys: int | Sequence[str], *, row: int = 0) -> Drawing:
    """A row a query, a column a key; a filled cell may be attended to.

    `queries` and `keys` are names, or their number; `row` is the sample of a mask that differs between samples, and of
    one that differs between heads the first is shown. ValueError for a picture wider than a phone's text column.
    """
    asking, asked = _names(queries), _names(keys)
    left = 16 + LETTER * max(map(len, asking)) + 8
    top = 44 + LETTER * max(map(len, asked))
    width, height = left + CELL * len(asked) + 16, top + CELL * len(asking) + 14
    if width > 336:
        raise ValueError(
            f"mask_picture: {len(asked)} keys beside names of {max(map(len, asking))} letters are {width:.0f} units "
            "wide, and a phone shows 336; draw fewer keys or shorter names"
        )
    rule = mask.resolve(len(asking), len(asked), torch.device("cpu"))
    allowed = torch.ones(len(asking), len(asked), dtype=torch.bool) if rule is None else _of_sample(rule, row)
    allowed = allowed.expand(len(asking), len(asked))
    pen = Pen()
    pen.text(16, 22, "queries ↓ keys →", "q")
    for place, name in enumerate(asked):
        x, y = left + CELL * place + CELL / 2 + 4, top - 6
        pen.text(x, y, name, "c", turn=-90)
    for query, name in enumerate(asking):
        pen.text(16, top + CELL * query + CELL / 2 + 4, name, "c")
        for key in range(len(asked)):
            x, y = left + CELL * key, top + CELL * query
            pen.rect(Box(x + 1, x + CELL - 1, y + 1, y + CELL - 1), "f" if allowed[query, key] else "in", 2)
    alt = _told(allowed.tolist(), asking, asked)
    return Drawing(svg(pen, max(width, 170), height, "Attention mask", alt), alt)


def _names(given: int | Sequence[str]) -> list[str]:
    names = [str(place) for place in range(1, given + 1)] if isinstance(given, int) else list(given)
    if not names:
        raise ValueError("mask_picture: there is no query or no key to draw; give at least one of each")
    return names


def _of_sample(rule: torch.Tensor, row: int) -> torch.Tensor:
    """[queries, keys] of a rule that is broadcastable to [batch, heads, queries, keys]."""
    while rule.ndim < 4:
        rule = rule[None]
    return rule[row if len(rule) > 1 else 0, 0]


def _told(allowed: list[list[bool]], asking: list[str], asked: list[str]) -> str:
    sentences = []
    for name, cells in zip(asking, allowed, strict=True):
        seen = [key for key, cell in zip(asked, cells, strict=True) if cell]
        whom = "every key" if len(seen) == len(asked) else ", ".join(seen) or "no key"
        sentences.append(f"{name} attends to {whom}")
    return f"Attention mask of {len(asking)} queries and {len(asked)} keys. {'; '.join(sentences)}."
