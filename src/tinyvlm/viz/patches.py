"""What a Vision Transformer knows about places: its position table, and how far its heads look."""

import numpy as np
from torch import Tensor

from tinyvlm.viz.figure import INK, PAPER, SERIES, Figure, describe, style


def position_similarity(table: Tensor, title: str = "Similarity of position embeddings") -> Figure:
    """Cosine of every position with every other: a small map for each place of the grid, at that place (ViT, figure 7).

    table: [side * side, width], row by row, without the class token's entry. ValueError for another number of
    positions, a grid of one, or values that are not finite.
    """
    side = round(len(table) ** 0.5) if table.ndim == 2 else 0
    if side < 2 or side * side != len(table):
        raise ValueError(
            f"A table of shape {list(table.shape)} is no square grid of positions: pass [side * side, width], without "
            "the class token's entry."
        )
    values = table.detach().float().cpu()
    if not bool(values.isfinite().all()):
        raise ValueError("The table holds NaN or infinity, which have no direction: find the step that produced them.")
    unit = values / values.norm(dim=1, keepdim=True).clamp_min(1e-12)
    cosines = (unit @ unit.T).numpy()
    # One picture with gaps between the maps: a grid of axes would take seconds for 14 by 14 places.
    step = side + 1
    sheet = np.full((side * step - 1, side * step - 1), np.nan)
    for place, row in enumerate(cosines):
        down, across = step * (place // side), step * (place % side)
        sheet[down : down + side, across : across + side] = row.reshape(side, side)
    fig = Figure(4.6, 4.0)
    with style():
        ax = fig.subplots()
        # The cosine of a place with itself is 1 and would take the colours from all others, which stay far below.
        low = min(0.0, float(cosines.min()))
        high = max(0.1, float(cosines[~np.eye(side * side, dtype=bool)].max()))
        picture = ax.imshow(sheet, cmap="cividis", interpolation="nearest", vmin=low, vmax=high)
        ticks = [step * i + (side - 1) / 2 for i in range(side)]
        names = [str(i + 1) for i in range(side)]
        ax.set_xticks(ticks, names, fontsize=7)
        ax.set_yticks(ticks, names, fontsize=7)
        ax.spines[:].set_visible(False)
        ax.set(xlabel="column of the patch", ylabel="row of the patch", title=title, facecolor=PAPER)
        fig.colorbar(picture, ax=ax, shrink=0.8, extend="max", label="cosine")
    rows, columns = np.divmod(np.arange(side * side), side)
    apart = np.maximum(abs(rows[:, None] - rows), abs(columns[:, None] - columns))
    line = (apart > 0) & ((rows[:, None] == rows) | (columns[:, None] == columns))
    others = (apart > 0) & ~line
    describe(
        fig,
        f"{title}: for each of {side} by {side} patches a map of its cosine with all positions. Mean cosine with the "
        f"eight neighbours {cosines[apart == 1].mean():.2f}, with the same row or column {cosines[line].mean():.2f}, "
        f"with all other places {cosines[others].mean():.2f}.",
    )
    return fig


def attention_distances(
    distances: Tensor, uniform: float | None = None, title: str = "How far each head looks"
) -> Figure:
    """Mean attention distance by depth, a dot a head (ViT, figure 7 right).

    distances: [layers, heads] in pixels. uniform: a dashed line, the distance of attention that is the same everywhere.
    ValueError for another shape, or values that are negative or not finite.
    """
    if distances.ndim != 2 or distances.numel() == 0:
        raise ValueError(f"distances of shape {list(distances.shape)} cannot be drawn: pass [layers, heads].")
    values = distances.detach().float().cpu().numpy()
    if not np.isfinite(values).all() or values.min() < 0:
        raise ValueError("distances must be finite and not negative: pass pixels.")
    layers, heads = values.shape
    fig = Figure(5.0, 2.8)
    with style():
        ax = fig.subplots()
        for head in range(heads):
            ax.scatter(range(1, layers + 1), values[:, head], color=SERIES[0], s=22, alpha=0.75)
        ax.plot(range(1, layers + 1), values.mean(1), color=SERIES[1], label="mean of the heads")
        if uniform is not None:
            ax.axhline(uniform, color=INK, linestyle="--", linewidth=1, label="looking everywhere alike")
        ax.set_xticks(range(1, layers + 1))
        top = 1.15 * max(float(values.max()), uniform or 0.0, 1e-6)
        ax.set(xlabel="layer", ylabel="pixels", title=title, ylim=(0, top))
        ax.grid(axis="y")
        ax.legend()
    told = "; ".join(
        f"layer {number}: {row.min():.1f} to {row.max():.1f}"
        for number, row in enumerate(values, 1)
        if layers <= 8 or number in (1, (layers + 1) // 2, layers)
    )
    line = f" Attention that is the same everywhere has {uniform:.1f}." if uniform is not None else ""
    describe(fig, f"{title}: mean attention distance in pixels of {heads} heads in {layers} layers. {told}.{line}")
    return fig
