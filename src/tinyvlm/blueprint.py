"""What a model looks like on paper: the short spec from which its architecture is drawn and told, and its changes.

A paper's file states its parts in the order of the data; `viz.blueprint` draws them. A test holds each spec against the
module tree. Names are those of the code: attributes of the model, of its task (`beside`), or functions (`call`).
Two specs are compared by words (`what`, and the names of lines and branches), never by numbers.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

Placed = tuple[int, ...]  # part, item in it, branch in that


@dataclass(frozen=True)
class Line:
    """One thing inside a box: a module or parameter, with `call` a function; without a name a remark."""

    name: str
    what: str
    size: str = ""
    call: bool = False


@dataclass(frozen=True)
class Branch:
    """One residual of a block: x + branch(norm(x)) (`pre`) or norm(x + branch(x)) (`post`)."""

    name: str
    what: str
    size: str = ""
    placement: str = "pre"
    gate: bool = False


@dataclass(frozen=True)
class Blocks:
    """Equal blocks one after another, each a list of residuals."""

    name: str
    times: int
    branches: tuple[Branch, ...]


@dataclass(frozen=True)
class Arrow:
    """Data from the part called `source`; `into` names the branch that takes it, by default it is the part's input."""

    source: str
    into: str = ""


@dataclass(frozen=True)
class Part:
    """One box.

    name: the attribute; "" for a group. Items of a named part are its own, those of a group or a loss the model's.
    key: what arrows call the part; its name by default.
    inputs: where its data comes from. out: shape of one sample's output, as it stands on the arrow.
    role: `beside` is held by the task and not by the model; `use` is a method that answers with the trained model.
    frozen: no gradient reaches it.
    pairs: a contrastive loss, drawn with its matrix of all pairs.
    """

    name: str
    what: str
    place: Literal["left", "right", "middle", "full"] = "full"
    inputs: tuple[str | Arrow, ...] = ()
    items: tuple[Line | Blocks, ...] = ()
    size: str = ""
    out: str = ""
    role: Literal["input", "network", "loss", "beside", "use"] = "network"
    frozen: bool = False
    pairs: bool = False
    key: str = ""

    @property
    def called(self) -> str:
        return self.key or self.name

    @property
    def arrows(self) -> tuple[Arrow, ...]:
        return tuple(Arrow(one) if isinstance(one, str) else one for one in self.inputs)


@dataclass(frozen=True)
class Element:
    """A box, line or branch with its full name in the code; `reads` are the inputs that reach it."""

    placed: Placed
    path: str
    thing: Part | Line | Branch
    reads: frozenset[str]

    @property
    def kind(self) -> tuple[Any, ...]:
        """What two specs are compared by."""
        thing = self.thing
        if isinstance(thing, Part):
            return "part", thing.what, thing.role, thing.frozen
        if isinstance(thing, Branch):
            return "branch", thing.name, thing.what, thing.placement, thing.gate
        return "line", thing.name, thing.what

    @property
    def told(self) -> str:
        return f"{self.path} ({self.thing.what})" if self.path else self.thing.what


@dataclass(frozen=True)
class Blueprint:
    """A model of one size. ValueError for an arrow from nowhere, and for two parts of one key."""

    model: str
    size: str
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        seen: list[str] = []
        for part in self.parts:
            for arrow in part.arrows:
                if arrow.source not in seen:
                    raise ValueError(
                        f"{self.model}: {part.called} reads {arrow.source!r}, which is not drawn before it; "
                        f"name one of {', '.join(seen) or 'no part'}"
                    )
            if part.called in seen:
                raise ValueError(f"{self.model}: two parts are called {part.called!r}; give one another key")
            seen.append(part.called)

    def elements(self) -> Iterator[Element]:
        """Every part, followed by its lines and branches."""
        reads: dict[str, frozenset[str]] = {}
        for number, part in enumerate(self.parts):
            own = frozenset([part.called]) if part.role == "input" else frozenset[str]()
            read = own.union(*(reads[arrow.source] for arrow in part.arrows))
            reads[part.called] = read
            yield Element((number,), part.name, part, read)
            for place, item in enumerate(part.items):
                inside = part.name and item.name and part.role != "loss" and not getattr(item, "call", False)
                path = f"{part.name}.{item.name}" if inside else item.name
                if isinstance(item, Line):
                    yield Element((number, place), path, item, read)
                    continue
                for depth, branch in enumerate(item.branches):
                    yield Element((number, place, depth), f"{path}.{branch.name}", branch, read)


def missing_in(old: Blueprint, new: Blueprint) -> list[Element]:
    """What `new` has and `old` has not: no such element there, or none that reads these inputs."""
    known: dict[tuple[Any, ...], list[frozenset[str]]] = {}
    for element in old.elements():
        known.setdefault(element.kind, []).append(element.reads)
    return [one for one in new.elements() if not any(one.reads <= reads for reads in known.get(one.kind, ()))]


def gone_from(old: Blueprint, new: Blueprint) -> list[str]:
    """Names of what `old` has and `new` has not, whatever it reads; a whole part once."""
    kinds = {element.kind for element in new.elements()}
    named = {element.path.rpartition(".")[2] for element in new.elements()}
    gone = [one for one in old.elements() if one.path and one.kind not in kinds]
    lost = [one.path for one in gone if one.path.rpartition(".")[2] not in named]
    return [path for path in lost if not any(path.startswith(f"{other}.") for other in lost)]


def describe(drawn: Blueprint, since: Blueprint | None = None) -> str:
    """The drawing in words."""
    sentences = [f"Blueprint of {drawn.model}, size {drawn.size}, from top to bottom"]
    sentences += [_told(part) for part in drawn.parts]
    if since is not None:
        new = listed([element.told for element in _outermost(missing_in(since, drawn))])
        sentences.append(f"New since {since.model}: {new or 'nothing'}")
        if gone := listed(gone_from(since, drawn)):
            sentences.append(f"No longer there: {gone}")
    return ". ".join(sentences) + "."


def listed(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))


def _outermost(elements: list[Element]) -> list[Element]:
    """Without what stands inside a part that is named itself."""
    parts = {element.placed for element in elements if len(element.placed) == 1 and element.path}
    return [one for one in elements if len(one.placed) == 1 or one.placed[:1] not in parts]


def _told(part: Part) -> str:
    text = f"{part.name}: {part.what}" if part.name else part.what
    text += f" ({part.size})" * bool(part.size) + ", frozen" * part.frozen
    sources = [f"{arrow.source} (into {arrow.into})" if arrow.into else arrow.source for arrow in part.arrows]
    text += f", from {' and '.join(sources)}" if sources else ""
    text += "; " + "; ".join(map(_item, part.items)) if part.items else ""
    return text + (f"; gives {part.out}" if part.out else "")


def _item(item: Line | Blocks) -> str:
    if isinstance(item, Blocks):
        return f"{item.name}, {item.times} times: " + ", then ".join(map(_residual, item.branches))
    inner = f"{item.what}, {item.size}" if item.size else item.what
    return f"{item.name} ({inner})" if item.name else inner


def _residual(branch: Branch) -> str:
    inner = f"{branch.name}(norm(x))" if branch.placement == "pre" else f"{branch.name}(x)"
    total = f"x + {'tanh(gate) ' * branch.gate}{inner}"
    return f"{total if branch.placement == 'pre' else f'norm({total})'} with {branch.what}"


# Parts that papers share. Each takes the configuration of the encoder that it draws.

ACTIVATIONS = {"gelu": "GELU", "gelu_tanh": "GELU (tanh)", "quick_gelu": "QuickGELU", "relu": "ReLU", "silu": "SiLU"}
POOLED = {"first": "the first token", "last": "the last real token", "mean": "mean of the tokens"}


def shape(*sizes: int) -> str:
    return " × ".join(f"{size:,}" for size in sizes)


def image(config: Any, place: Literal["left", "full"] = "left") -> Part:
    size = shape(config.channels, config.image_size, config.image_size)
    return Part("", "image", place, role="input", key="image", out=size)


def text(context: int) -> Part:
    return Part("", "token ids", "right", role="input", key="ids", out=f"n ≤ {context}")


def pooling(how: str) -> Line:
    return Line("pool", POOLED[how], call=True)


def block(config: Any, placement: str = "pre", causal: bool = False, cross: Branch | None = None) -> tuple[Branch, ...]:
    """Attention and feed-forward, with a cross-attention between them where one is given."""
    activation = ACTIVATIONS[getattr(config, "activation", "gelu")]
    attention = Branch(
        "attention", "causal self-attention" if causal else "self-attention", f"{config.heads} heads", placement
    )
    mlp = Branch("mlp", f"feed-forward, {activation}", f"{config.hidden} wide", placement)
    return (attention, mlp) if cross is None else (attention, cross, mlp)


def vision_items(config: Any) -> tuple[Line | Blocks, ...]:
    """The inside of a `VisionTransformer`."""
    bias = "" if config.patch_bias else ", no bias"
    items: list[Line | Blocks] = [Line("patches", f"linear layer{bias}", f"{config.patch}×{config.patch} px")]
    if config.class_token:
        items.append(Line("class_token", "put before them"))
    if config.positions:
        items.append(Line("positions", "added", shape(config.tokens, config.width)))
    if config.norm_before:
        items.append(Line("norm_before", "first LayerNorm"))
    return (*items, Blocks("blocks", config.layers, block(config)), Line("norm", "last LayerNorm"))


def text_items(config: Any) -> tuple[Line | Blocks, ...]:
    """The inside of a `TextTransformer`."""
    return (
        Line("words", "word table", f"{config.vocabulary:,}"),
        Line("positions", "added", shape(config.context, config.width)),
        Blocks("blocks", config.layers, block(config, causal=config.causal)),
        Line("norm", "last LayerNorm"),
    )


def bert_embedding(config: Any) -> Part:
    """BERT's input, `embedding`."""
    items = [
        Line("words", "word table", f"{config.vocabulary:,}"),
        Line("positions", "added", shape(config.context, config.width)),
    ]
    if config.types:
        items.append(Line("types", "segment 0, added"))
    items.append(Line("norm", "LayerNorm of the sum"))
    out = shape(config.width)
    return Part("embedding", "BERT's input", "right", ("ids",), tuple(items), out=f"n × {out}")
