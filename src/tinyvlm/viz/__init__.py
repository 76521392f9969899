"""Figures and tables of the chapters. A figure is a Figure that carries its own alt text; none touches pyplot.

The last value of a notebook cell displays itself: a Figure as a small picture with its alt text, a Drawing as SVG with
its words inside, a Table as text.
"""

from tinyvlm.viz.blueprint import blueprint
from tinyvlm.viz.boxes import boxes_on_image
from tinyvlm.viz.charts import contrasts_chart, per_seed_plot, similarity_heatmap, training_curves
from tinyvlm.viz.figure import Figure, describe, show, style
from tinyvlm.viz.images import attention_overlay, image_grid, ranks_strip
from tinyvlm.viz.masks import mask_picture
from tinyvlm.viz.patches import attention_distances, position_similarity
from tinyvlm.viz.svg import Drawing
from tinyvlm.viz.tables import table

__all__ = [
    "Drawing",
    "Figure",
    "attention_distances",
    "attention_overlay",
    "blueprint",
    "boxes_on_image",
    "contrasts_chart",
    "describe",
    "image_grid",
    "mask_picture",
    "per_seed_plot",
    "position_similarity",
    "ranks_strip",
    "show",
    "similarity_heatmap",
    "style",
    "table",
    "training_curves",
]
