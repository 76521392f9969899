"""A Matplotlib figure with alt text, a calm style of its own, and no global state.

pyplot is never imported: it keeps every figure alive and lets one notebook cell change the look of the next. The style
holds while a figure is built and while it is drawn, so the reader's own rcParams stay as they are. The background is
light and opaque, which reads well on a light page and on a dark one.
"""

import base64
import html
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib import figure, font_manager
from matplotlib.image import AxesImage, BboxImage
from PIL import Image

PAPER = "#fcfbf8"
INK = "#22252a"
SOFT = "#6b6f76"
GRID = "#e4e1d9"
# Each at least 3:1 against the paper, and told apart with the common colour-vision deficiencies.
SERIES = ("#0b6e99", "#c8553d", "#3a7d44", "#7a5195", "#a8760a", "#4f5b66")

# A face with Hangul, by what Debian, Noto, macOS, Windows and Colab call it; the first one installed is used.
KOREAN = ("NanumGothic", "NanumBarunGothic", "Noto Sans CJK KR", "Noto Sans KR", "Apple SD Gothic Neo", "Malgun Gothic")

_WIDEST = 7.2  # inches: the text column of the site
_PIXELS_PER_INCH = 110  # sharp enough on a phone, small enough for a committed notebook
_CSS_PER_INCH = 96


@cache
def _families() -> tuple[str, ...]:
    """Font families in order of preference, only those present: naming an absent one makes Matplotlib warn."""
    present = {font.name for font in font_manager.fontManager.ttflist}
    return ("DejaVu Sans", *[name for name in KOREAN if name in present][:1])


@contextmanager
def style() -> Iterator[None]:
    """The course's look, for as long as the block lasts."""
    rc: dict[Any, Any] = {
        "font.family": list(_families()),
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.labelsize": 9,
        "figure.facecolor": PAPER,
        "savefig.facecolor": PAPER,
        "axes.facecolor": PAPER,
        "axes.edgecolor": SOFT,
        "axes.labelcolor": INK,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.prop_cycle": cycler(color=SERIES),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": False,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "axes.unicode_minus": False,
    }
    # Parameters first to their defaults: a reader's own rcParams would otherwise shine through.
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(rc)
        # Without a Korean font Hangul is drawn as boxes; the alt text still says what stands there.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from")
        yield


class Figure(figure.Figure):
    """A Matplotlib figure whose `alt_text` says in a sentence what it shows, numbers included."""

    def __init__(self, width: float = _WIDEST, height: float = 3.0) -> None:
        """width, height: inches; wider than the site's text column is drawn at its width."""
        with style():
            super().__init__(figsize=(min(width, _WIDEST), height), dpi=_PIXELS_PER_INCH, layout="constrained")
        self.alt_text = ""

    def add_subplot(self, *args: Any, **kwargs: Any) -> Any:
        """Axes take their colours and sizes when they are made; `subplots` comes through here as well."""
        with style():
            return super().add_subplot(*args, **kwargs)

    def draw(self, renderer: Any) -> None:
        """Ticks are made while drawing, so the style has to hold here too."""
        with style():
            super().draw(renderer)

    def png(self) -> bytes:
        """The picture with a palette: less than a third of the size of a full-colour file."""
        return _png(self)

    def _ipython_display_(self) -> None:
        show(self)


def describe(fig: figure.Figure, text: str) -> figure.Figure:
    """Give any Matplotlib figure its alt text, and return it. ValueError if the text is empty."""
    if not text.strip():
        raise ValueError("The alt text is empty: say in one sentence what the figure shows, numbers included.")
    fig.alt_text = " ".join(text.split())  # type: ignore[attr-defined]
    return fig


def show(fig: figure.Figure) -> None:
    """Display a figure in a notebook as a picture with its alt text, which the static page keeps.

    ValueError if the figure has no alt text yet.
    """
    from IPython.display import display

    text = getattr(fig, "alt_text", "")
    if not text:
        raise ValueError("This figure has no alt text: call describe(fig, '...') before showing it.")
    display({"text/html": to_html(fig), "text/plain": text}, raw=True)


def to_html(fig: figure.Figure) -> str:
    """The figure as an HTML image with its data, its size (so that the page does not jump) and its alt text."""
    data = base64.b64encode(_png(fig)).decode("ascii")
    width, height = (round(inches * _CSS_PER_INCH) for inches in fig.get_size_inches())
    text = html.escape(getattr(fig, "alt_text", ""), quote=True)
    return (
        f'<img src="data:image/png;base64,{data}" width="{width}" height="{height}" alt="{text}" '
        'style="max-width:100%;height:auto;border-radius:6px">'
    )


def _png(fig: figure.Figure) -> bytes:
    """A chart keeps 64 colours, a figure with pictures 128: more is not seen, and stored outputs stay small."""
    raw, small = io.BytesIO(), io.BytesIO()
    with style():
        fig.savefig(raw, format="png", dpi=_PIXELS_PER_INCH)
    colours = 128 if fig.findobj(lambda artist: isinstance(artist, AxesImage | BboxImage)) else 64
    with Image.open(raw) as picture:
        few = picture.convert("RGB").quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(small, format="png", optimize=True)
    return small.getvalue()


def listed(items: list[str], most: int = 8) -> str:
    """ "a, b, c and 5 more": lists in alt texts stay short enough to listen to."""
    if len(items) <= most:
        return ", ".join(items)
    return f"{', '.join(items[:most])} and {len(items) - most} more"
