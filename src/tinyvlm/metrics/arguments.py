"""The door of the metrics: what a signature says about dtypes and shapes is checked when a function is called.

A metric that gets probabilities for classes, 0 and 1 for booleans or one axis too many mostly returns a number, and a
wrong one. `checked` reads the jaxtyping annotations once, when a function is defined; a call then costs about a
microsecond an argument. Lists, numpy arrays and tensors are taken alike; texts have to be strings.
"""

import inspect
import numbers
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from functools import wraps
from typing import Any, NoReturn, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])
_TEXTS = (str, Sequence[str], Sequence[Sequence[str]])
Sizes = dict[str, tuple[int, str]]

_WHOLE = frozenset({torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64})
_FLOAT = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
# By the name of a jaxtyping class: the dtypes a function gets, what a sentence calls them, and a remedy.
_KINDS = {
    "Bool": (frozenset({torch.bool}), "booleans", "compare with a threshold, or write True and False"),
    "Integer": (_WHOLE, "whole numbers", "pass classes or row numbers, not scores: argmax gives the best class"),
    "Float": (_FLOAT, "real numbers", "convert it with .float()"),
    "Real": (_WHOLE | _FLOAT, "real numbers", "convert it with .float()"),
}


class _Array:
    """One array of a signature: its dtypes, and its axes, a size, a name or None each; `axes` None: any shape."""

    def __init__(self, where: str, name: str, annotation: Any):
        self.where, self.name = where, name
        options = get_args(annotation) or (annotation,)
        self.optional = type(None) in options
        array = next(option for option in options if hasattr(option, "dim_str"))
        self.kind, self.dims = array.dtype.__name__, array.dim_str
        self.dtypes = _KINDS[self.kind][0]
        self.axes: list[int | str | None] | None = None
        if self.dims != "...":
            words = self.dims.split()
            self.axes = [int(word) if word.isdigit() else None if word == "_" else word for word in words]

    def __call__(self, value: Any, sizes: Sizes) -> Any:
        if value is None and self.optional:
            return None
        if not isinstance(value, Tensor):
            value = self._from_array(value)
        if value.dtype not in self.dtypes:
            value = self._convert(value)
        if self.axes is None:
            return value
        shape = value.shape
        if len(shape) != len(self.axes):
            value = self._nothing(value)
            shape = value.shape
        for size, axis in zip(shape, self.axes, strict=True):
            if axis.__class__ is str:
                known, first = sizes.setdefault(axis, (size, self.name))  # type: ignore[arg-type]
                if size != known:
                    self._refuse_size(value, str(axis), known, first)
            elif axis is not None and size != axis:
                self._refuse(self._told(value), "bring it to that shape")
        return value

    def _from_array(self, value: Any) -> Tensor:
        try:
            return torch.tensor(np.ascontiguousarray(value).reshape(np.shape(value)))  # in float64, unlike torch's own
        except (TypeError, ValueError, RuntimeError):
            self._refuse(f"a {type(value).__name__} that is no array of numbers", "pass a tensor, an array or a list")

    def _convert(self, value: Tensor) -> Tensor:
        """What another dtype says as well, without any loss: 0 and 1 for booleans, whole numbers for real ones."""
        whole = value.dtype in _WHOLE
        if value.numel() == 0:
            return value.to({"Bool": torch.bool, "Integer": torch.int64}.get(self.kind, torch.float32))
        if self.kind == "Bool" and whole and bool(((value == 0) | (value == 1)).all()):
            return value.bool()
        if self.kind in ("Integer", "Real") and value.dtype == torch.bool:
            return value.to(torch.uint8)
        if self.kind == "Float" and whole:
            return value.float()
        self._refuse(self._told(value), _KINDS[self.kind][2])

    def _nothing(self, value: Tensor) -> Tensor:
        """`torch.tensor([])` is no boxes, though it has one axis only."""
        rest = [axis for axis in (self.axes or [])[1:] if isinstance(axis, int)]
        if value.shape == (0,) and rest and len(rest) + 1 == len(self.axes or []):
            return value.reshape(0, *rest)
        self._refuse(self._told(value), "bring it to that shape")

    def _told(self, value: Tensor) -> str:
        return f"{str(value.dtype).removeprefix('torch.')} of shape {list(value.shape)}"

    def _refuse_size(self, value: Tensor, axis: str, known: int, first: str) -> NoReturn:
        got = self._told(value)
        if first == self.name:
            self._refuse(got, f"its two axes called {axis} must be equal")
        self._refuse(got, f"{axis} is {known} in {first}, so pass the same number in both")

    def _refuse(self, got: str, remedy: str) -> NoReturn:
        wanted = _KINDS[self.kind][1]
        shape = "any shape" if self.axes is None else f"shape [{', '.join(self.dims.replace('_', 'any').split())}]"
        raise ValueError(f"{self.where} takes {self.name} as {wanted} of {shape} and got {got}: {remedy}.")


class _Number:
    """One `int` or `float` of a signature. A bool is none: `k=True` is a slip."""

    def __init__(self, where: str, name: str, annotation: type):
        self.where, self.name, self.annotation = where, name, annotation
        self.kind = numbers.Integral if annotation is int else numbers.Real

    def __call__(self, value: Any, sizes: Sizes) -> Any:
        if value.__class__ is self.annotation:
            return value
        if isinstance(value, Tensor) and value.ndim == 0:
            value = value.item()
        if isinstance(value, bool) or not isinstance(value, self.kind):
            wanted = "a whole number" if self.annotation is int else "a number"
            raise ValueError(f"{self.where} takes {self.name} as {wanted} and got {value!r}: pass one such number.")
        return self.annotation(value)


class _Texts:
    """A `str`, or lists of them `depth` levels deep. One string in place of a list is the function's to judge."""

    def __init__(self, where: str, name: str, depth: int):
        self.where, self.name, self.depth = where, name, depth

    def __call__(self, value: Any, sizes: Sizes) -> Any:
        if self.depth and isinstance(value, np.ndarray):
            value = value.tolist()
        elif self.depth and isinstance(value, Collection) and not isinstance(value, Sequence | Mapping | Set):
            value = list(value)
        self._look(value, self.depth, self.name)
        return value

    def _look(self, value: Any, depth: int, name: str) -> None:
        if isinstance(value, str):
            return
        if depth == 0 or not isinstance(value, Sequence | np.ndarray):
            wanted = "a string" if depth == 0 else "a list of texts"
            raise ValueError(f"{self.where} takes {name} as {wanted} and got {value!r}: write silence as ''.")
        for place, item in enumerate(value):
            if item.__class__ is not str:
                self._look(item, depth - 1, f"{name}[{place}]")


def _wanted(where: str, name: str, annotation: Any) -> _Array | _Number | _Texts | None:
    if annotation in _TEXTS:
        return _Texts(where, name, _TEXTS.index(annotation))
    if annotation in (int, float):
        return _Number(where, name, annotation)
    if any(hasattr(option, "dim_str") for option in get_args(annotation) or (annotation,)):
        return _Array(where, name, annotation)
    return None


def checked(function: Function) -> Function:
    """The function behind a door: arrays of a signature have its dtypes, axes, and one size for each name of an axis.

    A bool stands for 0 or 1 where numbers are wanted, whole numbers that are all 0 or 1 for booleans. What is empty has
    no dtype to judge, and `[]` is no rows. ValueError in one sentence: function, argument, what is wanted, what came.
    """
    doors = []
    for place, (name, parameter) in enumerate(inspect.signature(function).parameters.items()):
        if door := _wanted(function.__name__.strip("_"), name, parameter.annotation):
            doors.append((place, name, door))

    @wraps(function)
    def behind(*args: Any, **kwargs: Any) -> Any:
        sizes: Sizes = {}
        given = list(args)
        count = len(given)
        for place, name, door in doors:
            if place < count:
                given[place] = door(given[place], sizes)
            elif name in kwargs:
                kwargs[name] = door(kwargs[name], sizes)
        return function(*given, **kwargs)

    return behind  # type: ignore[return-value]
