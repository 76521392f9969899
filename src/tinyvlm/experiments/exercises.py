"""Checks of exercises: they return a verdict and never raise, so that a chapter with open exercises runs through."""

import functools
import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec

P = ParamSpec("P")


@dataclass(frozen=True)
class Verdict:
    """Whether an exercise is solved, and what to say about it."""

    passed: bool
    message: str = ""

    def __str__(self) -> str:
        head = "✓ Solved" if self.passed else "✗ Not yet"
        return f"{head}: {self.message}" if self.message else f"{head}."

    __repr__ = __str__

    def _repr_html_(self) -> str:
        colour = "#1a7f37" if self.passed else "#b35900"
        return f'<div style="border-left:4px solid {colour};padding:.3em .8em">{html.escape(str(self))}</div>'

    def __bool__(self) -> bool:
        return self.passed


def check(function: Callable[P, Verdict | bool | None]) -> Callable[P, Verdict]:
    """Make a check of a function that asserts, or returns a Verdict or a bool.

    Any exception in it, the learner's code included, becomes a failing Verdict; reaching the end is a pass.
    """

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> Verdict:
        try:
            result = function(*args, **kwargs)
        except NotImplementedError:
            return Verdict(False, "nothing is written here yet.")
        except AssertionError as error:
            return Verdict(False, str(error) or "the result differs from what it should be.")
        except Exception as error:
            return Verdict(False, f"it stops with {type(error).__name__}: {error}")
        return result if isinstance(result, Verdict) else Verdict(result is None or bool(result))

    return checked
