"""Configurations: small frozen dataclasses, nested per tower, that go to JSON and back."""

import dataclasses
import math
from types import UnionType
from typing import Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints


class Config:
    """Mixin for frozen dataclasses. `SIZES` maps a size's name to the fields in which it differs."""

    SIZES: ClassVar[dict[str, dict[str, Any]]] = {}

    @classmethod
    def named(cls, size: str, **changes: Any) -> Self:
        """The configuration called `size` (`micro`, `small`, or the paper's own name), with `changes` on top."""
        if size not in cls.SIZES:
            raise ValueError(f"{cls.__name__}: unknown size {size!r}; choose from {', '.join(cls.SIZES)}")
        return cls(**{**cls.SIZES[size], **changes})

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries, ready for JSON."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Inverse of `to_dict`. ValueError names the fields that this configuration does not have, or a field whose
        value is of another type."""
        hints = get_type_hints(cls)
        names = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        strangers = sorted(set(values) - names)
        if strangers:
            raise ValueError(
                f"{cls.__name__}: unknown field {', '.join(strangers)}; it has {', '.join(sorted(names))} "
                "(a checkpoint of another version or model?)"
            )

        def build(name: str, value: Any) -> Any:
            kind = hints[name]
            if isinstance(kind, type) and issubclass(kind, Config) and isinstance(value, dict):
                return kind.from_dict(value)
            value = tuple(value) if isinstance(value, list) else value  # JSON has no tuples
            if not _is_a(value, kind):
                told = kind.__name__ if isinstance(kind, type) else str(kind)
                raise ValueError(f"{cls.__name__}: {name} is {value!r} instead of {told}; mend the configuration")
            return value

        return cls(**{name: build(name, value) for name, value in values.items()})

    def replace(self, **changes: Any) -> Self:
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]


def _is_a(value: Any, kind: Any) -> bool:
    """Whether a value out of JSON is of a field's type; a whole number stands for a float, a boolean for no number."""
    if kind is Any:
        return True
    options = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        return any(_is_a(value, option) for option in options)
    if get_origin(kind) is Literal:
        return value in options
    if get_origin(kind) is tuple:
        if not isinstance(value, tuple):
            return False
        if options[-1] is Ellipsis:
            return all(_is_a(item, options[0]) for item in value)
        return len(value) == len(options) and all(map(_is_a, value, options))
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
