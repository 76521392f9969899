"""Numbers as figures: similarities, training curves, forced choices, results by seed."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from torch import Tensor

from tinyvlm.data.changes import LABELS
from tinyvlm.metrics.contrasts import CHANCE, ContrastTable
from tinyvlm.viz.figure import GRID, INK, SERIES, SOFT, Figure, describe, listed, style
from tinyvlm.viz.images import to_pixels


def similarity_heatmap(
    scores: Tensor,
    rows: Sequence[str] | Tensor = (),
    columns: Sequence[str] = (),
    title: str = "Similarity",
) -> Figure:
    """Similarity of every image (row) with every caption (column).

    scores: [images, captions]. rows: names, the images themselves [images, 3, S, S] as thumbnails, or none. columns:
    names, or none. ValueError for another shape, wrong numbers of names or images, or values that are not finite.
    """
    if scores.ndim != 2 or scores.numel() == 0:
        raise ValueError(f"scores of shape {tuple(scores.shape)} are no matrix: pass [images, captions].")
    for names, size, what in ((rows, scores.shape[0], "rows"), (columns, scores.shape[1], "columns")):
        if len(names) and len(names) != size:
            raise ValueError(f"{len(names)} names for {size} {what}: pass one name for each, or none.")
    values = scores.detach().float().cpu().numpy()
    if not np.isfinite(values).all():
        raise ValueError("scores hold NaN or infinity, which have no colour: find the step that produced them.")
    down, across = values.shape
    side = min(0.45, 5.0 / max(across, down))
    beside = 0.9 if not len(rows) else 0.9 + side if isinstance(rows, Tensor) else 2.2
    fig = Figure(max(2.6, side * across + beside), max(2.0, side * down + (1.6 if columns else 0.7)))
    with style():
        ax = fig.subplots()
        picture = ax.imshow(values, cmap="cividis", interpolation="nearest")
        _names(ax.set_xticks, columns, rotation=40, ha="right", rotation_mode="anchor")
        if isinstance(rows, Tensor):
            _thumbnails(ax, rows, side)
        else:
            _names(ax.set_yticks, rows)
        ax.set_title(title)
        fig.colorbar(picture, ax=ax, shrink=0.8)
        if values.size <= 100:
            middle = (values.max() + values.min()) / 2
            for i, j in np.ndindex(values.shape):
                colour = "white" if values[i, j] < middle else "black"
                ax.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", fontsize=6.5, color=colour)
    text = f"{title} of {down} images (rows) and {across} captions (columns), {values.min():.2f} to {values.max():.2f}."
    if down == across and down > 1:
        best = int((values.argmax(axis=1) == np.arange(down)).sum())
        others = values[~np.eye(down, dtype=bool)].mean()
        text += (
            f" In {best} of {down} rows the matching caption on the diagonal scores highest; "
            f"the diagonal's mean is {values.diagonal().mean():.2f}, that of the rest {others:.2f}."
        )
    describe(fig, text)
    return fig


def training_curves(
    losses: Any, smooth: int = 1, log: bool = False, chance: float | None = None, title: str = "Training"
) -> Figure:
    """Loss by step, one line a loss.

    losses: {name: one value a step}, or anything with such a mapping as its attribute `losses` (a History). NaN stands
    for a step without this loss, and is left out.
    smooth: width in steps of the moving average drawn over the raw values. chance: a dashed line, the loss of guessing.
    ValueError if there is nothing to draw.
    """
    series: Mapping[str, Sequence[float]] = getattr(losses, "losses", losses)
    curves = {name: np.asarray(values, dtype=float) for name, values in series.items() if len(values)}
    curves = {name: values for name, values in curves.items() if np.isfinite(values).any()}
    if not curves:
        raise ValueError("There are no losses to draw: train for at least one step.")
    fig = Figure(6.0, 2.8)
    told = []
    with style():
        ax = fig.subplots()
        for (name, values), colour in zip(curves.items(), _colours(len(curves)), strict=True):
            there = np.flatnonzero(~np.isnan(values))
            steps, values = 1 + there, values[there]
            width = max(1, min(smooth, len(values)))
            if width > 1:
                ax.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
                # Averages over the steps so far at the left edge, over `width` steps afterwards: nothing is invented.
                total = np.concatenate([[0.0], values.cumsum()])
                count = np.arange(1, len(values) + 1)
                left = np.maximum(count - width, 0)
                values = (total[count] - total[left]) / (count - left)
            ax.plot(steps, values, color=colour, label=name)
            told.append(f"{name} from {values[0]:.3g} to {values[-1]:.3g}, lowest {values.min():.3g}")
        if chance is not None:
            ax.axhline(chance, color=SOFT, linestyle="--", linewidth=1, label="guessing")
        if log:
            ax.set_yscale("log")
        ax.set(xlabel="step", ylabel="loss", title=title)
        ax.grid(axis="y")
        ax.legend()
    longest = max(len(values) for values in curves.values())
    line = f"; guessing is {chance:.3g}" if chance is not None else ""
    describe(fig, f"{title}: loss over {longest} steps. {listed(told)}{line}.")
    return fig


def contrasts_chart(
    table: ContrastTable | Mapping[str, Mapping[str, Any]], title: str = "True caption against one change"
) -> Figure:
    """Forced choice by kind of change, a bar a model, with the line of chance at one half.

    table: a ContrastTable, or its plain form from a receipt, {model: {change: {"value", "n"}}}. Whiskers are two
    binomial standard errors. ValueError for an empty table.
    """
    results = table if isinstance(table, ContrastTable) else ContrastTable.from_dict(table)
    if not results.changes:
        raise ValueError("The table has no forced choice to draw: add a row with at least one change.")
    models, changes = results.models, results.changes
    labels = [LABELS.get(change, change) for change in changes]
    fig = Figure(max(4.0, 0.75 * len(changes) + 1.5), 3.1)
    width = 0.8 / len(models)
    told = []
    with style():
        ax = fig.subplots()
        for m, (model, colour) in enumerate(zip(models, _colours(len(models)), strict=True)):
            cells = [(c, cell) for c, change in enumerate(changes) if (cell := results.rows[model].get(change))]
            ax.bar(
                [c + (m - (len(models) - 1) / 2) * width for c, _ in cells],
                [cell.value for _, cell in cells],
                width * 0.92,
                yerr=[2 * cell.standard_error for _, cell in cells],
                color=colour,
                label=model,
                error_kw={"elinewidth": 0.9, "ecolor": INK, "capsize": 2},
            )
            told.append(f"{model}: " + ", ".join(f"{labels[c]} {cell.value:.2f}" for c, cell in cells))
        ax.axhline(CHANCE, color=INK, linestyle="--", linewidth=1, label="chance")
        ax.set_xticks(range(len(changes)), [textwrap.fill(label, 11) for label in labels])
        ax.set(ylim=(0, 1.05), ylabel="true caption chosen", title=title)
        ax.grid(axis="y")
        # About 90 letters fit side by side; a longer row would be cut off at both ends.
        beside = 90 // (max(map(len, models)) + 8)
        fig.legend(loc="outside lower center", ncols=max(1, min(4, len(models) + 1, beside)))
    describe(fig, f"{title}, share of forced choices won by kind of change, chance 0.5. {'; '.join(told)}.")
    return fig


def per_seed_plot(
    per_seed: Mapping[str, Sequence[float]],
    difference: Sequence[float],
    interval: tuple[float, float] | Sequence[float] | None = None,
    margin: float = 0.0,
    metric: str = "score",
    verdict: str = "",
    quantity: str | None = None,
) -> Figure:
    """A claim's evidence: each arm's score, a dot a seed, and on the right what is held against the margin.

    per_seed: {arm: one score a seed}. difference: what the claim computes, one value a seed. interval: bounds for its
    mean, or None. margin: what it is held against. quantity: what it is called; None says "difference" for two arms
    or more, and "value" for one arm, where nothing is paired. ValueError when there is nothing to draw or the seeds do
    not pair up.
    """
    arms = {arm: np.asarray(values, dtype=float) for arm, values in per_seed.items()}
    gaps = np.asarray(difference, dtype=float)
    if not arms or not len(gaps) or any(len(values) != len(gaps) for values in arms.values()):
        counts = ", ".join(f"{arm} {len(values)}" for arm, values in arms.items()) or "no arms"
        raise ValueError(f"Seeds do not pair up ({counts}; difference {len(gaps)}): run the same seeds for every arm.")
    name = quantity or ("difference" if len(arms) > 1 else "value")
    fig = Figure(6.0, 2.6)
    with style():
        left, right = fig.subplots(1, 2, width_ratios=[max(2, len(arms)), 1.4])
        table = np.stack(list(arms.values()))
        left.plot(range(len(arms)), table, color=GRID, linewidth=1, zorder=1)
        for a, (values, colour) in enumerate(zip(table, _colours(len(arms)), strict=True)):
            left.scatter([a] * len(values), values, color=colour, s=28, zorder=2)
            left.hlines(values.mean(), a - 0.18, a + 0.18, color=colour, linewidth=2)
        left.set_xticks(range(len(arms)), [textwrap.fill(arm, 14) for arm in arms])
        left.set(xlim=(-0.6, len(arms) - 0.4), ylabel=metric, title="a dot a seed, a bar the mean")
        left.grid(axis="y")
        right.axhline(margin, color=INK, linestyle="--", linewidth=1)
        right.scatter(np.zeros(len(gaps)), gaps, color=SERIES[3], s=28, zorder=2)
        if interval is not None:
            mean = float(gaps.mean())
            below, above = mean - interval[0], interval[1] - mean
            right.errorbar([0.35], [mean], yerr=[[below], [above]], fmt="D", color=INK, capsize=4, markersize=4)
        right.set(xlim=(-0.6, 0.9), xticks=[], title=f"{name}, 95 %" if interval else name)
        right.grid(axis="y")
    told = [
        f"{arm} {', '.join(f'{value:.3g}' for value in values)} (mean {values.mean():.3g})"
        for arm, values in arms.items()
    ]
    text = f"{metric} by seed, {len(gaps)} seeds. {'; '.join(told)}. {name.capitalize()}, mean {gaps.mean():.3g}"
    if interval is not None:
        text += f", 95 % interval {interval[0]:.3g} to {interval[1]:.3g}"
    describe(fig, f"{text}, against a margin of {margin:.3g}{': ' + verdict if verdict else ''}.")
    return fig


def _thumbnails(ax: Any, images: Tensor, side: float) -> None:
    """Pictures in the place of the rows' names; `side` is a row's height in inches."""
    ax.set_yticks([])
    for row, picture in enumerate(to_pixels(images)):
        box = OffsetImage(picture, zoom=0.9 * side * 72 / picture.shape[0], interpolation="nearest")
        place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "boxcoords": "offset points"}
        place["xybox"] = (-0.55 * side * 72, 0)
        ax.add_artist(AnnotationBbox(box, (0, row), frameon=False, annotation_clip=False, pad=0, **place))


def _colours(count: int) -> list[str]:
    return [SERIES[i % len(SERIES)] for i in range(count)]


def _names(set_ticks: Any, names: Sequence[str], **style: Any) -> None:
    short = [textwrap.shorten(name, 28, placeholder="…") for name in names]
    set_ticks(range(len(names)), short, fontsize=7, **style)
