"""Pictures as figures: grids with captions, what was retrieved, where a model looked."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from torch import Tensor

from tinyvlm.viz.figure import INK, PAPER, SERIES, SOFT, Figure, describe, listed, style

RIGHT, WRONG = SERIES[2], SERIES[1]


def image_grid(
    images: Tensor, captions: Sequence[str] = (), columns: int | None = None, title: str | None = None
) -> Figure:
    """Pictures in rows, each with its caption below.

    images: [N, 3, S, S], uint8 or float in [0, 1]. captions: none, or one for each. columns: chosen when left out.
    ValueError for another shape or range, no image, or a number of captions that differs from that of images.
    """
    pictures = to_pixels(images)
    if captions and len(captions) != len(pictures):
        raise ValueError(f"{len(captions)} captions for {len(pictures)} images: pass one caption for each image.")
    across = columns or min(len(pictures), 4 if captions else 8)
    if across < 1:
        raise ValueError(f"columns={across} leaves no room: use at least 1.")
    down = math.ceil(len(pictures) / across)
    cell = min(1.8, 7.2 / across)
    characters = max(8, int(cell * 15))
    texts = [textwrap.fill(caption, characters) for caption in captions]
    lines = max((text.count("\n") + 1 for text in texts), default=0)
    fig = Figure(cell * across, down * (cell + 0.15 * lines + 0.12) + (0.3 if title else 0.0))
    with style():
        axes = fig.subplots(down, across, squeeze=False).flat
        for i, ax in enumerate(axes):
            if i >= len(pictures):
                ax.set_axis_off()
                continue
            _draw(ax, pictures[i])
            ax.set_anchor("N")
            ax.spines[:].set_visible(False)
            if texts:
                # A label, not free text: the layout then makes room for it.
                ax.set_xlabel(texts[i], fontsize=7)
        if title:
            fig.suptitle(title, x=0.01, ha="left", fontsize=10)
    named = ": " + listed([f"{i + 1}. {caption}" for i, caption in enumerate(captions)], 6) if captions else ""
    describe(fig, f"{title + '. ' if title else ''}Grid of {len(pictures)} images in {down} rows of {across}{named}.")
    return fig


def ranks_strip(
    query: Tensor | str,
    candidates: Tensor | Sequence[str],
    scores: Tensor,
    correct: Sequence[int] | int | None = None,
    top: int = 5,
    names: Sequence[str] | None = None,
) -> Figure:
    """What a query retrieves: the query, then the best candidates in order, each with its score.

    query: an image [3, S, S] or a text. candidates: images [N, 3, S, S], or N texts. scores: [N], higher is better.
    correct: number(s) of the right candidates, framed in green, the others in red; without it, no frames. names: a few
    words for each candidate image, used in the alt text. ValueError when lengths differ or `top` is below 1.
    """
    count = len(candidates)
    if scores.numel() != count or (names is not None and len(names) != count):
        raise ValueError(f"{scores.numel()} scores for {count} candidates: pass one score (and one name) for each.")
    if top < 1 or count < 1:
        raise ValueError(f"top={top} of {count} candidates shows nothing: use at least one of each.")
    values = scores.detach().float().cpu().reshape(-1)
    order = values.argsort(descending=True, stable=True)[:top].tolist()
    right = None if correct is None else {correct} if isinstance(correct, int) else set(correct)
    pictures = to_pixels(candidates[order]) if isinstance(candidates, Tensor) else None
    fig = Figure(1.2 * (len(order) + 1), 1.55)
    with style():
        axes = fig.subplots(1, len(order) + 1, squeeze=False)[0]
        _query(axes[0], query)
        for place, (ax, i) in enumerate(zip(axes[1:], order, strict=True)):
            colour = SOFT if right is None else RIGHT if i in right else WRONG
            if pictures is not None:
                _draw(ax, pictures[place])
            else:
                _words(ax, str(candidates[i]))
            ax.set_title(f"{place + 1}: {values[i]:.2f}", fontsize=8, color=colour, loc="center")
            for spine in ax.spines.values():
                spine.set(visible=right is not None, color=colour, linewidth=2.5)
    found = [f"{place + 1}. {_name(candidates, names, i)} ({values[i]:.2f})" for place, i in enumerate(order)]
    asked = f"the text “{query}”" if isinstance(query, str) else "an image"
    verdict = ""
    if right is not None:
        # The rank counts ties against the model, as the metric does.
        best = max(float(values[i]) for i in right)
        rank = 1 + sum(float(values[i]) >= best for i in range(count) if i not in right)
        verdict = f" The right one is at rank {rank} of {count}."
    describe(fig, f"Retrieval for {asked}; best {len(order)} by score: {listed(found)}.{verdict}")
    return fig


def attention_overlay(
    images: Tensor,
    attention: Tensor,
    labels: Sequence[str] = (),
    grid: tuple[int, int] | None = None,
    title: str | None = None,
) -> Figure:
    """Where attention falls: pictures, and pale copies of them, in colour where the weight is larger.

    images: one picture [3, S, S] for all maps, or [maps, 3, S, S], a picture for each. attention: non-negative weights
    over patches, [h, w] or [maps, h, w]; with grid=(h, w) also [h*w] or [maps, h*w], row by row (drop a class token
    first). labels: none, or a name for each map. ValueError for other shapes, negative weights, or wrong numbers.
    """
    maps = _maps(attention, grid)
    single = images.ndim == 3
    pictures = to_pixels(images[None] if single else images)
    for what, count in (("labels", len(labels) or len(maps)), ("images", len(maps) if single else len(pictures))):
        if count != len(maps):
            raise ValueError(f"{count} {what} for {len(maps)} attention maps: pass one for each map.")
    names = list(labels) or [f"map {i + 1}" for i in range(len(maps))]
    # One picture comes first in its row of maps; with a picture for each map, every column is a pair.
    cells = len(maps) + 1 if single else len(maps)
    across = min(cells, 6)
    rows = math.ceil(cells / across)
    down = rows if single else 2 * rows
    fig = Figure(1.4 * across, 1.55 * down + (0.3 if title else 0))
    with style():
        axes = fig.subplots(down, across, squeeze=False)
        for ax in axes.flat:
            ax.set_axis_off()
        if single:
            _draw(axes[0, 0], pictures[0])
            axes[0, 0].set_title("image", fontsize=8, loc="center")
        for i, (weights, name) in enumerate(zip(maps, names, strict=True)):
            row, column = divmod(i + 1 if single else i, across)
            ax = axes[row if single else 2 * row + 1, column]
            if not single:
                _draw(axes[2 * row, column], pictures[i])
            _overlay(ax, pictures[0 if single else i], weights)
            ax.set_title(textwrap.shorten(name, 22), fontsize=8, loc="center")
        if title:
            fig.suptitle(title, x=0.01, ha="left", fontsize=10)
    peaks = []
    for weights, name in zip(maps, names, strict=True):
        row, column = divmod(int(weights.argmax()), weights.shape[1])
        share = weights.max() / weights.sum() if weights.sum() > 0 else 0.0
        peaks.append(f"{name} peaks at row {row + 1}, column {column + 1} with {share:.0%} of its weight")
    patches = f"{maps.shape[1]} by {maps.shape[2]} patches"
    describe(fig, f"{title + '. ' if title else ''}Attention over {patches}: {listed(peaks, 6)}.")
    return fig


def _overlay(ax: Any, picture: np.ndarray, weights: np.ndarray) -> None:
    """The picture in pale grey, coloured where the weights are: what lies below stays recognisable."""
    height, width = picture.shape[:2]
    grey = 255 - 0.6 * (255 - picture @ np.array([0.299, 0.587, 0.114]))
    heat = 0.7 * weights / max(float(weights.max()), 1e-12)
    ax.imshow(grey, cmap="gray", vmin=0, vmax=255, interpolation="nearest", extent=(0, width, height, 0))
    ax.imshow(weights, cmap=ListedColormap([SERIES[1]]), alpha=heat, extent=(0, width, height, 0))


def to_pixels(images: Tensor) -> np.ndarray:
    """[N, 3, S, S] uint8, or float in [0, 1], as uint8 [N, S, S, 3]. ValueError for another shape, dtype or range."""
    if images.ndim != 4 or images.shape[1] != 3 or len(images) == 0:
        raise ValueError(f"images of shape {tuple(images.shape)} cannot be drawn: [N, 3, height, width] is needed.")
    values = images.detach().cpu()
    if values.is_floating_point():
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):
            raise ValueError(f"Float images must lie in [0, 1]; these reach {low:.2f} to {high:.2f}: undo the scaling.")
        values = (values.float() * 255).round().byte()
    elif values.dtype.itemsize != 1 or values.dtype.is_signed:
        raise ValueError(f"Images of dtype {values.dtype} cannot be drawn: uint8, or float in [0, 1], is needed.")
    return values.permute(0, 2, 3, 1).numpy()


def _maps(attention: Tensor, grid: tuple[int, int] | None) -> np.ndarray:
    weights = attention.detach().float().cpu()
    if grid is not None and weights.ndim in (1, 2) and weights.shape[-1] == grid[0] * grid[1]:
        weights = weights.reshape(-1, *grid)
    elif grid is None and weights.ndim == 2:
        weights = weights[None]
    if weights.ndim != 3 or weights.numel() == 0:
        allowed = "[height, width] or [maps, height, width]" if grid is None else f"[..., {grid[0] * grid[1]}]"
        raise ValueError(f"attention of shape {tuple(attention.shape)} does not fit grid={grid}: pass {allowed}.")
    if not bool(weights.isfinite().all()) or float(weights.min()) < 0:
        raise ValueError("attention must be finite and not negative: pass weights after the softmax.")
    return weights.numpy()


def _draw(ax: Any, picture: np.ndarray) -> None:
    # Small pictures are enlarged without blurring their pixels.
    ax.imshow(picture, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])


def _words(ax: Any, text: str) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_box_aspect(1)
    ax.set_facecolor(PAPER)
    wrapped = textwrap.fill(textwrap.shorten(text, 90), 15)
    ax.text(0.5, 0.5, wrapped, ha="center", va="center", fontsize=6.5, transform=ax.transAxes, color=INK)


def _query(ax: Any, query: Tensor | str) -> None:
    if isinstance(query, str):
        _words(ax, query)
    else:
        _draw(ax, to_pixels(query[None])[0])
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_title("query", fontsize=8, loc="center")


def _name(candidates: Tensor | Sequence[str], names: Sequence[str] | None, i: int) -> str:
    if names is not None:
        return names[i]
    return f"image {i}" if isinstance(candidates, Tensor) else f"“{candidates[i]}”"
