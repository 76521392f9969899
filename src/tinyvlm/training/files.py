"""Files that are whole or not there, and errors of the file system in one sentence."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def explained(what: str, more: str = "") -> Iterator[None]:
    """Turn an OSError, or safetensors' error while writing, into an OSError of one sentence with the remedy."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        message = (
            f"{what} cannot be written ({reason[:1].lower()}{reason[1:]}): free space there, or choose a folder that "
            f"can be written{'; ' + more if more else ''}."
        )
        kind = type(error) if isinstance(error, OSError) else OSError
        raise kind(message) from error


def sync(path: Path) -> None:
    """Wait until `path` is on the disk. Directories cannot be synced on Windows."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write JSON beside `path`, then rename: readers see the old file or the new one, never a part.

    Raises OSError in one sentence when that cannot be done; an existing file stays as it was.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with explained(f"File {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
            sync(aside)
            os.replace(aside, path)
    finally:
        if path.parent.is_dir():
            aside.unlink(missing_ok=True)


def read_json(path: Path, what: str, remedy: str) -> dict[str, Any]:
    """Read a JSON object. Raises FileNotFoundError or ValueError in one sentence that ends in `remedy`."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{what} {path} is not there: {remedy}.") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{what} {path} cannot be read ({first_line(error)}): {remedy}.") from None
    if not isinstance(value, dict):
        raise ValueError(f"{what} {path} holds a {type(value).__name__} where an object is needed: {remedy}.")
    return value


def first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
