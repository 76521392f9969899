"""Configurations: small frozen dataclasses, nested per tower, that go to JSON and back."""

import dataclasses
from typing import Any, ClassVar, Self, get_type_hints


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
        """Inverse of `to_dict`. ValueError names the fields that this configuration does not have."""
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
            return tuple(value) if isinstance(value, list) else value  # JSON has no tuples

        return cls(**{name: build(name, value) for name, value in values.items()})

    def replace(self, **changes: Any) -> Self:
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]
