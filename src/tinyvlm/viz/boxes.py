"""Boxes drawn on a picture: what is there, what a model says is there."""

from collections.abc import Mapping, Sequence

from matplotlib.patches import Rectangle
from torch import Tensor

from tinyvlm.viz.figure import SERIES, Figure, describe, style
from tinyvlm.viz.images import to_pixels


def boxes_on_image(image: Tensor, boxes: Mapping[str, Sequence[float] | Tensor], title: str | None = None) -> Figure:
    """A picture with named boxes, each in its own colour, the second and later ones dashed.

    image: [3, S, S], uint8 or float in [0, 1]. boxes: name -> (left, top, right, bottom) in pixels, the last two
    exclusive. ValueError for another shape or range, no boxes, or a box of other than four numbers.
    """
    corners = {name: [float(x) for x in box] for name, box in boxes.items()}
    if not corners:
        raise ValueError("There is no box to draw: pass at least one, {name: (left, top, right, bottom)}.")
    for name, box in corners.items():
        if len(box) != 4:
            raise ValueError(f"Box {name!r} has {len(box)} numbers: pass four, (left, top, right, bottom).")
    picture = to_pixels(image[None])[0]
    fig = Figure(3.0, 2.5 + 0.18 * len(corners) + (0.3 if title else 0.0))
    with style():
        ax = fig.subplots()
        # Edges of pixels at whole numbers, as the coordinates of boxes count them.
        height, width = picture.shape[:2]
        ax.imshow(picture, interpolation="nearest", extent=(0, width, height, 0))
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        for place, (name, (left, top, right, bottom)) in enumerate(corners.items()):
            ax.add_patch(
                Rectangle(
                    (left, top),
                    right - left,
                    bottom - top,
                    fill=False,
                    label=name,
                    linewidth=2,
                    edgecolor=SERIES[place % len(SERIES)],
                    linestyle="--" if place else "-",
                )
            )
        fig.legend(loc="outside lower center", ncols=1, fontsize=8)
        if title:
            fig.suptitle(title, x=0.01, ha="left", fontsize=10)
    told = [
        f"{name} from ({left:g}, {top:g}) to ({right:g}, {bottom:g})"
        for name, (left, top, right, bottom) in corners.items()
    ]
    start = f"{title}. " if title else ""
    describe(fig, f"{start}Picture of {width} by {height} pixels with boxes: {'; '.join(told)}.")
    return fig
