"""Figures of the chapters. Each function returns a Figure that carries its own alt text; none touches pyplot.

A Figure that is the last value of a notebook cell displays itself, as a small picture with that alt text.
"""

from tinyvlm.viz.boxes import boxes_on_image
from tinyvlm.viz.charts import contrasts_chart, per_seed_plot, similarity_heatmap, training_curves
from tinyvlm.viz.figure import Figure, describe, show, style
from tinyvlm.viz.images import attention_overlay, image_grid, ranks_strip
from tinyvlm.viz.patches import attention_distances, position_similarity

__all__ = [
    "Figure",
    "attention_distances",
    "attention_overlay",
    "boxes_on_image",
    "contrasts_chart",
    "describe",
    "image_grid",
    "per_seed_plot",
    "position_similarity",
    "ranks_strip",
    "show",
    "similarity_heatmap",
    "style",
    "training_curves",
]
