"""Reads the shipped data files, each held against the SHA-256 that was written when it was built."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tinyvlm.evidence import note

ASSETS = Path(__file__).parent / "assets"
SUMS = "SHA256SUMS"
REMEDY = "reinstall the package, or run `make assets` in a checkout"


def read_sums(folder: Path = ASSETS) -> dict[str, str]:
    """File name -> hexadecimal SHA-256, from the folder's SHA256SUMS (the format of `sha256sum`).

    Raises FileNotFoundError when there is none, ValueError when a line is not a checksum and a name.
    """
    path = folder / SUMS
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing, so no data file can be checked: {REMEDY}")
    sums = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name:
            raise ValueError(f"{path} line {number} is not 'checksum  name' as sha256sum writes it: {REMEDY}")
        sums[name] = digest
    return sums


def read_asset(name: str, folder: Path = ASSETS) -> bytes:
    """The bytes of one data file, verified.

    Raises FileNotFoundError when it is missing, ValueError when it is not the file that was built.
    """
    note(f"data/{name}")
    path = folder / name
    expected = read_sums(folder).get(name)
    if expected is None:
        raise ValueError(f"{path} has no line in {SUMS}: {REMEDY}")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing (expected SHA-256 {expected[:12]}…): {REMEDY}")
    data = path.read_bytes()
    actual = hashlib.sha256(data).hexdigest()
    if actual != expected:
        raise ValueError(f"{path} is damaged: SHA-256 {actual[:12]}… where {expected[:12]}… was expected; {REMEDY}")
    return data
