"""Writing files so that a reader never meets half of one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` at once: into a temporary file beside it, then renamed. Same text: file untouched.

    OSError in one sentence when the folder cannot be written; the old file then still stands.
    """
    data = text.encode("utf-8")
    if path.is_file() and path.read_bytes() == data:
        return
    write_bytes(path, data)


def write_bytes(path: Path, data: bytes) -> None:
    """As `write_text`, for bytes."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror}): make its folder writable or free space.") from None
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp makes 0600, which a web server could not read
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(f"{path} was not written ({error.strerror}): free space or make it writable.") from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
