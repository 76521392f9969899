"""A model's architecture as one SVG in the page's own fonts: data flows from top to bottom, what is new has the accent.

The drawing is 336 units wide, a phone's text column, and its smallest letters are 12 units high. It carries its own
paper, so it reads on every page: colours follow the site's theme, else JupyterLab's, else the system's.
"""

import textwrap

from tinyvlm.blueprint import Arrow, Blocks, Blueprint, Branch, Part, describe, gone_from, listed, missing_in
from tinyvlm.viz.svg import Box, Drawing, Pen, svg

WIDTH = 336
GAP = 27  # between two boxes: an arrow and the shape beside it
SPANS = {"left": (16, 160), "right": (176, 320), "middle": (101, 235), "full": (16, 320)}
LANES = {"left": 6, "right": 330}  # for data that passes by a box
PAD, ROW = 9, 15
CODE, WORDS, BOLD = 7.3, 6.6, 7.7  # units a letter, of 12-unit monospace and sans-serif in widest use


def blueprint(drawn: Blueprint, since: Blueprint | None = None, *, small: bool = False) -> Drawing:
    """The architecture that a spec describes (`CLIP.blueprint("micro")`), and what in it is new since another's.

    `small` leaves out insides and shapes: a picture of 4:3 for a card. ValueError for an arrow that would cross a box.
    """
    new = set() if since is None else {element.placed for element in missing_in(since, drawn)}
    alt = describe(drawn, since)
    if small:
        return Drawing(_thumbnail(drawn, new), alt)
    pen = Pen()
    pen.text(16, 22, drawn.model, "k")
    pen.text(320, 22, f"{drawn.size}, shapes of one sample", "q e")
    bottoms = {"left": 34.0, "right": 34.0}
    boxes: dict[str, Box] = {}
    for number, part in enumerate(drawn.parts):
        columns = [part.place] if part.place in bottoms else list(bottoms)
        top = max(bottoms[column] for column in columns) + (0 if part.role == "input" else GAP if part.arrows else 12)
        left, right = SPANS[part.place]
        box = boxes[part.called] = Box(left, right, top, top)
        _part(pen, part, box, {placed[1:] for placed in new if placed[0] == number})
        bottoms |= dict.fromkeys(columns, box.bottom)
    for part in drawn.parts:
        for arrow in part.arrows:
            source = next(one for one in drawn.parts if one.called == arrow.source)
            # An input's shape stands in its own box.
            _arrow(pen, part, arrow, boxes, "" if source.role == "input" else source.out)
    height = _legend(pen, drawn, since, max(bottoms.values()) + 14)
    return Drawing(svg(pen, WIDTH, height, f"Blueprint of {drawn.model}, {drawn.size}", alt), alt)


def _entry(name: str, what: str, size: str, room: float, letter: float = WORDS) -> list[tuple[str, str, str]]:
    """A name, what it is and a number as rows (code, words, at the end) that fit into `room` units."""
    wide = CODE * len(name) + letter * len(what) + WORDS * len(size) + 8 * (bool(name) + bool(size))
    if wide <= room:
        return [(name, what, size)]
    lines = textwrap.wrap(what, max(8, int(room / letter)), break_on_hyphens=False)
    rows = [(name, "", "")] * bool(name) + [("", line, "") for line in lines]
    if not size:
        return rows
    for place in dict.fromkeys((0, len(rows) - 1)):  # the number stands beside the name, else behind the last words
        code, words, _ = rows[place]
        if CODE * len(code) + letter * len(words) + WORDS * len(size) + 8 <= room:
            rows[place] = (code, words, size)
            return rows
    return [*rows, ("", "", size)]


def _rows(
    pen: Pen,
    rows: list[tuple[str, str, str]],
    left: float,
    right: float,
    top: float,
    new: bool = False,
    title: bool = False,
) -> float:
    """Writes rows from `top` on; returns where they end."""
    mark = " x" * new
    if new:
        pen.path(f"M{left - 5:g} {top + 2:g}v{ROW * len(rows) - 1}", "x")
    for code, words, end in rows:
        top += ROW
        if code:
            pen.text(left, top - 4, code, "c" + mark)
        if words:
            pen.text(left + (CODE * len(code) + 8 if code else 0), top - 4, words, ("t" * title + mark).strip())
        if end:
            pen.text(right, top - 4, end, "q e")
    return top


def _part(pen: Pen, part: Part, box: Box, new: set[tuple[int, ...]]) -> None:
    """Draws one box and sets its `bottom`; `new` are places in it, () the box itself."""
    inner = Pen()
    left, right = box.left + PAD, box.right - PAD
    size = part.out if part.role == "input" else part.size
    room = right - left - (52 if part.pairs else 0)
    title = not part.name and part.role != "input"
    rows = _entry(part.name, part.what, size, room, BOLD if title else WORDS)
    top = _rows(inner, rows, left, left + room, box.top + 3, () in new, title)
    if part.frozen:
        top = _rows(inner, _entry("", "no gradient", "", room), left, right, top)
    for place, item in enumerate(part.items):
        if isinstance(item, Blocks):
            top = _blocks(inner, item, box, top, {mark[1] for mark in new if len(mark) == 2 and mark[0] == place})
        else:
            rows = _entry(item.name + "()" * item.call, item.what, item.size, room)
            top = _rows(inner, rows, left, left + room, top, (place,) in new)
    if part.pairs:
        top = max(top, box.top + 52)
        _pairs(inner, right - 42, box.top + 8)
    box.bottom = top + 5
    dashed = part.frozen or part.role == "use"
    pen.rect(box, "x" * (() in new) + " d" * dashed, radius=14 if part.role in ("input", "use") else 5)
    pen.above += inner.above


def _pairs(pen: Pen, left: float, top: float) -> None:
    """All pairs of a batch; the true ones stand on the diagonal."""
    for row in range(4):
        for column in range(4):
            x, y = left + 10.5 * column, top + 10.5 * row
            pen.rect(Box(x, x + 9, y, y + 9), "in" if row != column else "h", 1)


def _blocks(pen: Pen, stack: Blocks, box: Box, top: float, new: set[int]) -> float:
    """The residuals of one block, one under another, in a frame that says how many blocks there are."""
    frame = Box(box.left + 5, box.right - 5, top + 2, 0)
    inner = Pen()
    left, right = frame.left + 22, frame.right - 6
    centre = (left + right) / 2
    y = _rows(inner, [(stack.name, "", f"× {stack.times}")], frame.left + 6, right, frame.top + 1) + 3
    start = y
    for depth, branch in enumerate(stack.branches):
        split = y + 3
        y = split + 5
        slabs = ["norm", "branch"] if branch.placement == "pre" else ["branch"]
        for slab in slabs:
            y = _slab(inner, branch, slab, Box(left, right, y, y), depth in new, box) + 4
        join = y + 5
        inner.path(f"M{centre:g} {split:g}H{frame.left + 9:g}V{join:g}H{centre - 6:g}")
        inner.plus(centre, join)
        y = join + 6
        if branch.placement == "post":
            y = _slab(inner, branch, "norm", Box(left, right, y + 4, y + 4), depth in new, box)
        y += 2
    frame.bottom = y + 5
    pen.rect(frame, "in")
    pen.path(f"M{centre:g} {start:g}V{y + 5:g}")
    pen.above += inner.above
    return frame.bottom


def _slab(pen: Pen, branch: Branch, slab: str, at: Box, new: bool, box: Box) -> float:
    """A branch, or the norm before or behind it; returns where it ends."""
    room = at.right - at.left - 13
    rows = [("norm", "", "")] if slab == "norm" else _entry(branch.name, branch.what, branch.size, room)
    if slab == "branch" and branch.gate:
        rows += _entry("gate", "tanh, from 0", "", room)
    shown = new and slab == "branch"
    inner = Pen()
    at.bottom = _rows(inner, rows, at.left + 7, at.right - 6, at.top + 1, shown) + 1
    if slab == "branch":
        box.entries[branch.name] = (at.top + at.bottom) / 2
    pen.rect(at, "x" if shown else "", 3)
    pen.above += inner.above
    return at.bottom


def _arrow(pen: Pen, part: Part, arrow: Arrow, boxes: dict[str, Box], label: str) -> None:
    """Straight down where nothing stands between, else around it on the side of its column."""
    source, target = boxes[arrow.source], boxes[part.called]
    x = _straight(source, target, boxes)
    if x is not None and not arrow.into:
        pen.path(f"M{x:g} {source.bottom:g}V{target.top - 4:g}", below=True)
        pen.head(x, target.top)
        if label and part.role != "use" and target.top - source.bottom >= 20:
            pen.text(x + 7, target.top - 10, label, "q")
        return
    side = "left" if source.centre < WIDTH / 2 else "right"
    lane, edge = LANES[side], "left" if side == "left" else "right"
    if source.centre == WIDTH / 2:
        raise ValueError(f"{part.called} cannot be reached from {arrow.source}, which stands in the middle; move one")
    start, end = source.bottom - 12, target.entries[arrow.into] if arrow.into else target.top + 14
    goal = getattr(target, edge) + (27 if side == "left" else -11) * bool(arrow.into)
    pen.path(f"M{getattr(source, edge):g} {start:g}H{lane}V{end:g}H{goal:g}", below=not arrow.into)
    pen.head(goal, end, "right" if side == "left" else "left", below=not arrow.into)


def _straight(source: Box, target: Box, boxes: dict[str, Box]) -> float | None:
    """Where an arrow runs straight down; None where a box stands between."""
    x = source.centre if source.right - source.left <= target.right - target.left else target.centre
    for box in boxes.values():
        if box.left < x < box.right and box.top >= source.bottom and box.bottom <= target.top:
            return None
    return x


def _legend(pen: Pen, drawn: Blueprint, since: Blueprint | None, top: float) -> float:
    """What the accent means and what is gone; returns the height of the drawing."""
    if since is None:
        return top
    pen.rect(Box(16, 30, top + 3, top + 15), "x", 2)
    pen.text(38, top + 13, f"new since {since.model}", "x")
    top += ROW + 2
    if gone := listed(gone_from(since, drawn)):
        for line in textwrap.wrap(f"no longer there: {gone}", int(304 / WORDS)):
            pen.text(16, top + 12, line, "q")
            top += ROW
    return top + 10


def _thumbnail(drawn: Blueprint, new: set[tuple[int, ...]]) -> str:
    """Boxes and arrows alone, scaled to 4:3; lines in a box stand for its blocks."""
    boxes: dict[str, Box] = {}
    bottoms = {"left": 0.0, "right": 0.0}
    shown = [part for part in drawn.parts if part.role != "use"]
    for part in shown:
        columns = [part.place] if part.place in bottoms else list(bottoms)
        top = max(bottoms[column] for column in columns) + (0.6 if part.role != "input" else 0)
        tall = 2.4 if any(isinstance(item, Blocks) for item in part.items) else 1
        boxes[part.called] = Box(*SPANS[part.place], top, top + tall)
        bottoms |= dict.fromkeys(columns, top + tall)
    pen, scale = Pen(), (WIDTH * 3 / 4 - 16) / max(bottoms.values())
    for box in boxes.values():
        box.top, box.bottom = 8 + scale * box.top, 8 + scale * box.bottom
    for number, part in enumerate(shown):
        box = boxes[part.called]
        pen.rect(box, "x" * ((number,) in new) + " d" * part.frozen, 14 if part.role == "input" else 5)
        for item in part.items:
            for place in range(1, 4 * isinstance(item, Blocks)):
                y = box.top + (box.bottom - box.top) * place / 4
                pen.path(f"M{box.left + 14:g} {y:g}H{box.right - 14:g}")
        for arrow in part.arrows:
            x = _straight(boxes[arrow.source], box, boxes)
            if x is not None:
                pen.path(f"M{x:g} {boxes[arrow.source].bottom:g}V{box.top:g}", below=True)
    return svg(pen, WIDTH, WIDTH * 3 / 4, f"Blueprint of {drawn.model}", "")
