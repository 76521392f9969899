"""Writing files so that a reader never meets half of one: the core's way, without touching what stays the same."""

from __future__ import annotations

from pathlib import Path

from tinyvlm.files import write_atomically


def write_bytes(path: Path, data: bytes) -> None:
    """Writes `data` at once, unless the file holds it already.

    OSError in one sentence when that cannot be done; the old file then still stands.
    """
    if not (path.is_file() and path.read_bytes() == data):
        write_atomically(path, lambda temporary: temporary.write_bytes(data))


def write_text(path: Path, text: str) -> None:
    """As `write_bytes`, for a text in UTF-8."""
    write_bytes(path, text.encode("utf-8"))
