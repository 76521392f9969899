"""Drawings as SVG in the page's own fonts: light and dark, without a script, with their words inside.

A drawing carries its own paper, so it reads on every page: colours follow the site's theme, else JupyterLab's, else
the system's. What is new has the accent colour and a thick edge, so that colour alone says nothing.
"""

import html
from dataclasses import dataclass, field

LIGHT = "--ink:#1f2a33;--quiet:#52606b;--line:#74828c;--paper:#fff;--box:#f1f4f6;--new:#a33b12;--tint:#fdeee5"
DARK = "--ink:#e6ebee;--quiet:#b3bec6;--line:#7d8b95;--paper:#161c21;--box:#232d34;--new:#f8b48f;--tint:#46280f"
_DARK_PAGES = "html[data-theme=dark] .bp,body[data-jp-theme-light=false] .bp"
STYLE = (
    f".bp{{{LIGHT};color:var(--ink);background:var(--paper);border-radius:8px;font:12px system-ui,sans-serif}}"
    f"@media(prefers-color-scheme:dark){{.bp{{{DARK}}}}}"
    f"html[data-theme=light] .bp,body[data-jp-theme-light=true] .bp{{{LIGHT}}}{_DARK_PAGES}{{{DARK}}}"
    ".bp text{fill:currentColor}.bp .c{font:600 12px ui-monospace,monospace}.bp .q{fill:var(--quiet)}"
    ".bp .e{text-anchor:end}.bp .k{font-weight:600;font-size:14px}"
    ".bp rect,.bp circle{fill:var(--box);stroke:var(--line)}.bp path{fill:none;stroke:var(--line);stroke-width:1.3}"
    ".bp .in{fill:var(--paper)}.bp .f{fill:var(--ink)}.bp .d{stroke-dasharray:5 3}.bp .h{fill:var(--line)}"
    ".bp .t{font-weight:600}.bp rect.x{fill:var(--tint);stroke:var(--new);stroke-width:2}.bp text.x{fill:var(--new)}"
    ".bp path.x{stroke:var(--new);stroke-width:4}"
)


@dataclass(frozen=True)
class Drawing:
    """A picture with its words: a notebook shows the SVG, `str` gives the alt text."""

    svg: str
    alt_text: str

    def _repr_html_(self) -> str:
        return self.svg

    def __str__(self) -> str:
        return self.alt_text

    __repr__ = __str__


@dataclass
class Box:
    """Where a part stands; `entries` are the heights at which its branches take data from the side."""

    left: float
    right: float
    top: float
    bottom: float
    entries: dict[str, float] = field(default_factory=dict)

    @property
    def centre(self) -> float:
        return (self.left + self.right) / 2


class Pen:
    """Collects shapes; arrows go below the boxes."""

    def __init__(self) -> None:
        self.below: list[str] = []
        self.above: list[str] = []

    def text(self, x: float, y: float, words: str, kind: str = "", turn: int = 0) -> None:
        """`turn` in degrees, clockwise, around x, y."""
        turned = f' transform="rotate({turn} {x:g} {y:g})"' if turn else ""
        self.above.append(f'<text x="{x:g}" y="{y:g}"{css(kind)}{turned}>{html.escape(words, quote=False)}</text>')

    def rect(self, box: Box, kind: str = "", radius: float = 5) -> None:
        width, height = box.right - box.left, box.bottom - box.top
        self.above.append(
            f'<rect x="{box.left:g}" y="{box.top:g}" width="{width:g}" height="{height:g}" rx="{radius:g}"{css(kind)}/>'
        )

    def path(self, steps: str, kind: str = "", below: bool = False) -> None:
        (self.below if below else self.above).append(f'<path d="{steps}"{css(kind)}/>')

    def head(self, x: float, y: float, turn: str = "down", below: bool = True) -> None:
        """An arrow's head with its tip at x, y."""
        shape = {"down": "l-4-7h8z", "right": "l-7-4v8z", "left": "l7-4v8z"}[turn]
        self.path(f"M{x:g} {y:g}{shape}", "h", below)

    def plus(self, x: float, y: float) -> None:
        self.above.append(f'<circle cx="{x:g}" cy="{y:g}" r="6" class="in"/>')
        self.path(f"M{x - 3.5:g} {y:g}h7M{x:g} {y - 3.5:g}v7")


def css(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def svg(pen: Pen, width: float, height: float, title: str, words: str) -> str:
    name, told = html.escape(title, quote=False), html.escape(words, quote=False)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="bp" role="img" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" style="width:100%;max-width:{width + 24:g}px;height:auto">'
        f"<title>{name}</title><desc>{told}</desc><style>{STYLE}</style>{''.join(pen.below + pen.above)}</svg>"
    )
