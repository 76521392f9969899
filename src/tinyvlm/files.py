"""Files and folders that are whole or not there, and errors of the file system in one sentence.

Standard library only: receipts are written and read without torch.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Write = Callable[[Path], object]


@contextmanager
def explained(what: str, more: str = "what was there before is unchanged") -> Iterator[None]:
    """Turn an OSError, or safetensors' error while writing, into an OSError of one sentence with the remedy."""
    try:
        yield
    except Exception as error:
        # By its name, since safetensors is not imported here.
        if not isinstance(error, OSError) and type(error).__name__ != "SafetensorError":
            raise
        reason = getattr(error, "strerror", None) or first_line(error)
        told = (type(error) if isinstance(error, OSError) else OSError)(
            f"{what} cannot be written ({reason[:1].lower()}{reason[1:]}): free space there, or choose a folder that "
            f"can be written; {more}."
        )
        told.errno = getattr(error, "errno", None)
        raise told from error


def sync(path: Path) -> None:
    """Wait until `path` is on the disk. Directories cannot be synced on Windows."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_together(files: Mapping[Path, Write]) -> None:
    """For each path let `write(temporary path)` make a file; put all in place once every one is written.

    Whatever fails on the way (a full disk, a read-only folder, an interrupt), older files stay as they were and no
    half-written one is left behind. Raises OSError with one sentence that names the file and the remedy.
    """
    temporaries: dict[Path, Path] = {}
    try:
        for path, write in files.items():
            with explained(f"File {path}"):
                path.parent.mkdir(parents=True, exist_ok=True)
                handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
                os.close(handle)
                temporary = temporaries[path] = Path(name)
                write(temporary)
                sync(temporary)
                umask = os.umask(0)
                os.umask(umask)
                temporary.chmod(0o666 & ~umask)
        for path, temporary in temporaries.items():
            with explained(f"File {path}"):
                temporary.replace(path)
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)


def write_folder(path: Path, write: Write) -> Path:
    """Let `write(temporary folder)` fill a new folder, and put it in place whole. Returns its path.

    A process that is killed leaves at most `.NAME` beside it. Raises the system's own OSError, also when `path` is
    there already: the caller knows what it writes, and words the error with `explained`.
    """
    aside = path.with_name(f".{path.name}")
    try:
        aside.mkdir()
        write(aside)
        for part in (*sorted(aside.iterdir()), aside):
            sync(part)
        os.rename(aside, path)
        sync(path.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return path


def write_atomically(path: str | Path, write: Write) -> Path:
    """`write_together` for one file. Returns its path."""
    path = Path(path)
    write_together({path: write})
    return path


def write_text(path: str | Path, text: str) -> Path:
    """`write_atomically` for a text in UTF-8."""
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: str | Path, value: Any) -> Path:
    """`write_text` of a JSON value. Raises ValueError for infinity and NaN, which JSON has not."""
    return write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


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
    """The error's first line, or its kind when it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
