"""Reading another library's configuration: what is said differently, and what the core cannot say."""

from collections.abc import Iterable, Mapping
from typing import Any


def side(value: Any, name: str) -> int:
    """A square's side out of a number or a pair. ValueError when the pair is no square."""
    sides = set(value) if isinstance(value, list | tuple) else {value}
    if len(sides) != 1:
        raise ValueError(f"checkpoint has {name} {list(value)}; the core reads square pictures and patches only")
    return int(sides.pop())


def refuse(config: Mapping[str, Any], fields: Iterable[str], library: str) -> None:
    """ValueError when one of `fields` is switched on: converted in silence, it would change the outputs."""
    used = [f"{name} {config[name]!r}" for name in fields if config.get(name)]
    if used:
        raise ValueError(f"{library} checkpoint has {', '.join(used)}, which the core cannot express; choose another")


def require(holds: bool, library: str, shape: str) -> None:
    """ValueError when a model of ours has no counterpart in the library."""
    if not holds:
        raise ValueError(f"{library} knows {shape}, and this model differs; export a paper-shaped one")
