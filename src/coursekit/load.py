"""Reads `course.yml`: every mistake is reported with the file, the key path and the line, all of them at once."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from coursekit.schema import Course, check_repository, repository_from_environment

NAME = "course.yml"
KeyPath = tuple[str | int, ...]


class CourseError(ValueError):
    """The course file is wrong; `str()` has one line a mistake: FILE:LINE: KEY: what is wrong."""


def find_root(start: Path | None = None) -> Path:
    """The folder that holds `course.yml`: COURSE_ROOT, else the first one upwards from `start` (the current folder).

    FileNotFoundError when there is none.
    """
    if folder := os.environ.get("COURSE_ROOT"):
        start = Path(folder)
    start = (start or Path.cwd()).resolve()
    for folder_ in (start, *start.parents):
        if (folder_ / NAME).is_file():
            return folder_
    raise FileNotFoundError(f"No {NAME} in {start} or above it: run the command inside the course's repository.")


def load_course(root: Path | None = None) -> Course:
    """The validated course of the repository at `root` (found from the current folder when None).

    The repository address follows the environment (`COURSE_REPOSITORY`, then GitHub Actions' own).
    Raises `CourseError` (mistakes, each with its line) or `FileNotFoundError`.
    """
    path = (root or find_root()) / NAME
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the course cannot be read without it.")
    course = parse_course(path.read_text(encoding="utf-8"), path.name)
    if address := repository_from_environment():
        try:
            course = course.model_copy(update={"repository": check_repository(address)})
        except ValueError as error:
            raise CourseError(f"COURSE_REPOSITORY (environment): {error}") from None
    return course


def parse_course(text: str, name: str = NAME) -> Course:
    """`text` as a Course. `name` is the file named in messages. Raises `CourseError`."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise CourseError(f"{name}:{mark.line + 1 if mark else 1}: not YAML: {error.problem}") from None
    if not isinstance(node, yaml.MappingNode):
        raise CourseError(f"{name}:1: must be a mapping with the keys {', '.join(Course.model_fields)}")

    lines: dict[KeyPath, int] = {(): 1}
    mistakes: list[tuple[int, str]] = []
    data = _plain(node, (), lines, mistakes)
    course = None
    try:
        course = Course.model_validate(data)
    except ValidationError as error:
        for detail in error.errors():
            mistakes.append(_described(detail, data, lines))
    group = data.get("group")
    planned = group.get("weeks") if isinstance(group, dict) else None
    if isinstance(data.get("weeks"), list) and isinstance(planned, int):
        mistakes += _between_weeks(data["weeks"], planned, lines)
    if mistakes or course is None:
        raise CourseError("\n".join(f"{name}:{line}: {message}" for line, message in sorted(set(mistakes))))
    return course


def _plain(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], mistakes: list[tuple[int, str]]) -> Any:
    """The node as plain data; notes the line of every key path, and keys written twice, which YAML would swallow."""
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = key_node.start_mark.line + 1
            if key in result:
                mistakes.append((line, f"{_written((*path, key))}: this key is written twice"))
            lines[(*path, key)] = line
            result[key] = _plain(value_node, (*path, key), lines, mistakes)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, (*path, i), lines, mistakes) for i, child in enumerate(node.value)]
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    except (ValueError, yaml.YAMLError) as error:  # e.g. 2023-02-30, which is shaped like a date
        mistakes.append((node.start_mark.line + 1, f"{_written(path)}: {error}"))
        return None


def _described(detail: Any, data: Any, lines: dict[KeyPath, int]) -> tuple[int, str]:
    path: KeyPath = tuple(detail["loc"])
    line = next(lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in lines)
    kind = detail["type"]
    if kind == "extra_forbidden":
        message = "unknown key; take it out or mend its spelling"
    elif kind == "missing":
        message = "this key is missing"
    elif kind == "value_error":
        message = str(detail["ctx"]["error"])
    elif kind == "string_pattern_mismatch":
        message = f"{detail['input']!r} does not have the form {detail['ctx']['pattern']}"
    else:
        message = f"{detail['msg'][0].lower()}{detail['msg'][1:]}, not {detail['input']!r}"
    return line, f"{_written(path)}: {message}"


def _between_weeks(weeks: list[Any], planned: int, lines: dict[KeyPath, int]) -> list[tuple[int, str]]:
    """What no week can see alone: numbers or notebooks used twice, dates that run backwards, a week missing."""
    mistakes = []
    first: dict[tuple[str, Any], Any] = {}
    latest = None
    for i, week in enumerate(weeks):
        if not isinstance(week, dict):
            continue
        for key in ("week", "notebook"):
            value = week.get(key)
            if not isinstance(value, int | str):
                continue
            if (key, value) in first:
                other = first[key, value]
                what = f"week {value} is written twice" if key == "week" else f"{value} is also week {other}'s notebook"
                mistakes.append((lines[("weeks", i, key)], f"weeks[{i}].{key}: {what}"))
            first.setdefault((key, value), week.get("week"))
        day = week.get("date")
        if isinstance(day, datetime.date):
            if latest and day <= latest:
                mistakes.append((lines[("weeks", i, "date")], f"weeks[{i}].date: {day} is not after {latest}"))
            latest = day
    numbers = {number for key, number in first if key == "week"}
    if missing := sorted(set(range(1, planned + 1)) - numbers):
        words = ", ".join(map(str, missing))
        mistakes.append((lines[("weeks",)], f"weeks: week {words} missing; group.weeks says there are {planned}"))
    if beyond := sorted(n for n in numbers if isinstance(n, int) and n > planned):
        mistakes.append((lines[("weeks",)], f"weeks: week {beyond[0]} is beyond group.weeks, which says {planned}"))
    return mistakes


def _written(path: KeyPath) -> str:
    """('weeks', 2, 'talks', 0, 'url') as weeks[2].talks[0].url."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "(file)"
