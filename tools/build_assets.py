"""Builds what `src/tinyvlm/data/assets` ships, from three Debian packages and the curated `nouns.json` there.

    python tools/build_assets.py             build everything
    python tools/build_assets.py --check     rebuild into a temporary folder and compare decoded pixels and JSON
    python tools/build_assets.py --only sprites
    python tools/build_assets.py --new-corpus    collect the tokenizer's corpus anew: voids every checkpoint

Packages: fonts-noto-color-emoji 2.042, unicode-data 15.0, unicode-cldr-core 41 (as in Debian 12). A newer package
gives other pictures or names: `--check` then says which. The tokenizer depends on none of them: it is trained on the
committed `tokenizer_corpus.json`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sources
from PIL import Image

from tinyvlm.data.checksums import ASSETS, SUMS
from tinyvlm.data.words import LANGUAGES

COPYRIGHT = {
    "LICENSE.noto-color-emoji.txt": Path("/usr/share/doc/fonts-noto-color-emoji/copyright"),
    "LICENSE.unicode-cldr.txt": Path("/usr/share/doc/unicode-cldr-core/copyright"),
}
# Curses among CLDR's search terms; keywords are shown to readers.
OMITTED_KEYWORDS = {"ko": ["개새끼"], "es": ["mierda"]}
PARTS = ("annotations", "sprites", "licences", "tokenizer")
SHIPPED = ("annotations.json", "nouns.json", "sprites.png", "tokenizer.json", *COPYRIGHT)


def write_atomically(path: Path, data: bytes) -> None:
    """A reader sees the old file or the new one, never half of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def build_annotations(folder: Path) -> None:
    """annotations.json: one line an emoji: character, group, subgroup, names and keywords in twelve languages."""
    listed = sources.list_emoji()
    words = {}
    for language in LANGUAGES:
        words[language] = sources.read_annotations(language)
        print(f"  {language}: {len(words[language][0]):,} names", flush=True)
    groups = list(dict.fromkeys(one.group for one in listed))
    subgroups = list(dict.fromkeys(one.subgroup for one in listed))
    rows, unnamed, borrowed = [], [], []
    for one in listed:
        key = one.char.replace(sources.VARIATION_SELECTOR, "")
        if not any(key in words[language][0] for language in LANGUAGES):
            unnamed.append({"emoji": one.char, "title": one.title})
            continue
        english = words["en"][0][key]
        borrowed += [{"emoji": one.char, "language": name} for name in LANGUAGES if key not in words[name][0]]
        names = [words[language][0].get(key, english) for language in LANGUAGES]
        keywords = [
            "|".join(k for k in words[language][1].get(key, []) if k not in OMITTED_KEYWORDS.get(language, ()))
            for language in LANGUAGES
        ]
        rows.append([one.char, groups.index(one.group), subgroups.index(one.subgroup), names, keywords])
    head = {
        "about": "Untoned emoji with CLDR's names and keywords. A row: character, index of group, index of subgroup, "
        "names, keywords joined by '|', both in the order of `languages`.",
        "sources": {"emoji-test.txt": "15.0", "CLDR": "41"},
        "licence": "Unicode-DFS-2016, see LICENSE.unicode-cldr.txt",
        "languages": LANGUAGES,
        "groups": groups,
        "subgroups": subgroups,
        "without_name": unnamed,
        "english_name_instead": borrowed,
        "omitted_keywords": OMITTED_KEYWORDS,
    }
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    text = json.dumps(head, ensure_ascii=False, indent=1)[:-2] + ',\n "emoji": [\n' + lines + "\n ]\n}\n"
    write_atomically(folder / "annotations.json", text.encode())
    print(f"  {len(rows):,} emoji named, {len(unnamed)} without a name left out", flush=True)


def build_sprites(folder: Path) -> None:
    """sprites.png: curated sprites at 64 px, the others at 32 px, lossless."""
    from sprites import build_sheet

    chars = [row[0] for row in json.loads((folder / "annotations.json").read_bytes())["emoji"]]
    nouns = {row["emoji"] for row in json.loads((folder / "nouns.json").read_bytes())["nouns"]}
    sheet = build_sheet(chars, [char in nouns for char in chars], sources.FONT)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG", optimize=True)
    write_atomically(folder / "sprites.png", buffer.getvalue())


def build_licences(folder: Path) -> None:
    """The licences of artwork and words, word for word as the Debian packages carry them."""
    for name, source in COPYRIGHT.items():
        write_atomically(folder / name, source.read_bytes())


def build_tokenizer(folder: Path) -> None:
    """tokenizer.json, from the committed corpus."""
    from train_tokenizer import train

    write_atomically(folder / "tokenizer.json", train().encode())


BUILDERS: dict[str, Callable[[Path], None]] = {
    "annotations": build_annotations,
    "sprites": build_sprites,
    "licences": build_licences,
    "tokenizer": build_tokenizer,
}


def write_sums(folder: Path) -> None:
    """SHA256SUMS over whatever of the shipped files is there, in the format of sha256sum."""
    there = [name for name in SHIPPED if (folder / name).is_file()]
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in sorted(there)]
    write_atomically(folder / SUMS, "".join(lines).encode())


def build(folder: Path, parts: tuple[str, ...] = PARTS) -> None:
    """Build `parts` into `folder`, which holds nouns.json already; checksums last, so that a reader notices a stop."""
    for part in PARTS:
        if part in parts:
            start = time.perf_counter()
            print(f"{part} …", flush=True)
            BUILDERS[part](folder)
            write_sums(folder)
            print(f"{part}: {time.perf_counter() - start:.1f} s", flush=True)


def _differing_json(old: Any, new: Any, path: str = "") -> str | None:
    """Path of the first place where two JSON values differ, or None."""
    if type(old) is type(new) and isinstance(old, dict):
        for key in dict.fromkeys([*old, *new]):
            if key not in old or key not in new:
                return f"{path}/{key} (only in the {'old' if key in old else 'new'})"
            if found := _differing_json(old[key], new[key], f"{path}/{key}"):
                return found
        return None
    if type(old) is type(new) and isinstance(old, list):
        if len(old) != len(new):
            return f"{path} ({len(old)} items, now {len(new)})"
        pairs = enumerate(zip(old, new, strict=True))
        return next((found for i, (a, b) in pairs if (found := _differing_json(a, b, f"{path}/{i}"))), None)
    return None if old == new else f"{path} ({str(old)[:40]!r}, now {str(new)[:40]!r})"


def compare(old: Path, new: Path) -> list[str]:
    """What differs between two asset folders: decoded pixels and parsed JSON, not bytes of a compressor."""
    found = []
    for name in SHIPPED:
        if not (old / name).is_file() or not (new / name).is_file():
            found.append(f"{name}: missing in {old if not (old / name).is_file() else new}")
        elif name.endswith(".png"):
            with Image.open(old / name) as a, Image.open(new / name) as b:
                before, after = np.asarray(a.convert("RGBA")), np.asarray(b.convert("RGBA"))
            if before.shape != after.shape:
                found.append(f"{name}: {before.shape[:2]} pixels, now {after.shape[:2]}")
            elif count := int((before != after).any(-1).sum()):
                row, column = np.argwhere((before != after).any(-1))[0]
                found.append(f"{name}: {count:,} pixels differ, the first at row {row}, column {column}")
        elif name.endswith(".json"):
            place = _differing_json(json.loads((old / name).read_bytes()), json.loads((new / name).read_bytes()))
            if place:
                found.append(f"{name}: differs at {place}")
        elif (old / name).read_bytes() != (new / name).read_bytes():
            found.append(f"{name}: text differs")
    return found


def check(folder: Path = ASSETS, parts: tuple[str, ...] = PARTS) -> list[str]:
    """Rebuild beside `folder` and compare. Parts that are not rebuilt are taken as they are."""
    with tempfile.TemporaryDirectory() as temporary:
        fresh = Path(temporary)
        for name in SHIPPED:
            if (folder / name).is_file():
                shutil.copy(folder / name, fresh / name)
        write_sums(fresh)
        build(fresh, parts)
        return compare(folder, fresh)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="rebuild elsewhere and compare; change nothing")
    parser.add_argument("--only", choices=PARTS, action="append", help="build or check this part alone (repeatable)")
    parser.add_argument("--new-corpus", action="store_true", help="collect the tokenizer's corpus from all views anew")
    options = parser.parse_args(arguments)
    parts = tuple(options.only or PARTS)
    if parts != ("tokenizer",) and (missing := sources.missing_packages()):
        print(f"missing Debian packages: install {' '.join(missing)} (apt-get install {' '.join(missing)})")
        return 2
    if options.check:
        differences = check(ASSETS, parts)
        print("\n".join(differences) or "the shipped files are what the sources give")
        return 1 if differences else 0
    if options.new_corpus:
        from train_tokenizer import collect

        collect()
    build(ASSETS, parts)
    total = sum(path.stat().st_size for path in ASSETS.iterdir())
    print(f"{total / 2**20:.2f} MiB in {ASSETS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
