"""Small pieces of HTML from `templates/`, escaped by Jinja."""

from __future__ import annotations

import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from coursekit.receipts import duration

TEMPLATES = Path(__file__).with_name("templates")


def day(value: datetime.date | str) -> str:
    """2023-03-04 as 4 March 2023; a month alone stays one: 2023-04 as April 2023."""
    if isinstance(value, datetime.date):
        value = value.isoformat()
    if len(value) == 7:
        return datetime.date.fromisoformat(f"{value}-01").strftime("%B %Y")
    date = datetime.date.fromisoformat(value[:10])
    return f"{date.day} {date:%B %Y}"


def number(value: Any) -> str:
    """A measured number with three decimals, or four significant digits when large; a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(day=day, duration=duration, number=number)
    return environment


def render(template: str, **values: Any) -> str:
    """`templates/<template>.html` filled in. A name that the template uses and `values` lacks is an error."""
    return _environment().get_template(f"{template}.html").render(**values)
