"""The builder: what ships is what the sources give, differences are named, a stopped build is noticed."""

import importlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from tinyvlm.data.checksums import ASSETS
from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.tokenizer import load_tokenizer

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="module")
def builder() -> Iterator[ModuleType]:
    sys.path.insert(0, str(TOOLS))  # as `python tools/build_assets.py` has it
    yield importlib.import_module("build_assets")
    sys.path.remove(str(TOOLS))


@pytest.fixture(scope="module")
def sources(builder: ModuleType) -> ModuleType:
    """The Debian sources, or a skip that names what is missing."""
    found: ModuleType = builder.sources
    if missing := found.missing_packages():
        pytest.skip(f"needs the Debian packages {', '.join(missing)}")
    return found


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    folder = tmp_path / "assets"
    shutil.copytree(ASSETS, folder)
    return folder


@pytest.fixture(autouse=True)
def fresh_loaders() -> None:
    load_emoji.cache_clear()
    load_tokenizer.cache_clear()


def test_words_and_pictures_are_what_the_packages_give(builder: ModuleType, sources: ModuleType) -> None:
    assert builder.check(parts=("annotations", "sprites", "licences")) == []


def test_tokenizer_is_what_training_gives(builder: ModuleType) -> None:
    assert builder.check(parts=("tokenizer",)) == []


def test_source_lists_every_untoned_emoji_once(sources: ModuleType) -> None:
    listed = sources.list_emoji()
    assert len(listed) == len({one.char for one in listed}) == 1870
    assert ("🐕", "Animals & Nature", "animal-mammal", "dog") in [
        (one.char, one.group, one.subgroup, one.title) for one in listed
    ]
    assert not any(0x1F3FB <= ord(point) <= 0x1F3FF for one in listed for point in one.char)
    names, keywords = sources.read_annotations("ko")
    assert names["🐕"] == "개" and "강아지" in keywords["🐕"]


def test_differences_are_named(builder: ModuleType, copied: Path) -> None:
    assert builder.compare(ASSETS, copied) == []
    with Image.open(copied / "sprites.png") as image:
        pixels = np.asarray(image.convert("RGBA")).copy()
    pixels[70, 5] ^= 255
    # Other compression, one other pixel: only the pixel counts.
    Image.fromarray(pixels).save(copied / "sprites.png", compress_level=1)
    table = json.loads((copied / "annotations.json").read_bytes())
    table["emoji"][3][3][1] = "다른 이름"
    (copied / "annotations.json").write_text(json.dumps(table))
    (copied / "LICENSE.unicode-cldr.txt").unlink()
    found = builder.compare(ASSETS, copied)
    assert len(found) == 3
    text = "\n".join(found)
    assert "sprites.png: 1 pixels differ, the first at row 70, column 5" in text
    assert "annotations.json: differs at /emoji/3/3/1" in text and "다른 이름" in text
    assert "LICENSE.unicode-cldr.txt: missing in" in text


def test_a_different_shape_is_named(builder: ModuleType) -> None:
    differ = builder._differing_json
    assert differ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}) is None
    assert differ({"a": [1, 2]}, {"a": [1]}) == "/a (2 items, now 1)"
    assert differ({"a": 1}, {"b": 1}) == "/a (only in the old)"
    assert differ({"a": 1}, {"a": 1, "b": 1}) == "/b (only in the new)"
    assert differ([0, [1]], [0, {"x": 1}]) == "/1 ('[1]', now \"{'x': 1}\")"


def test_a_write_that_fails_leaves_the_old_file(builder: ModuleType, tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    target = tmp_path / "file"
    builder.write_atomically(target, b"old")

    def refuse(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(builder.os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        builder.write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_missing_packages_are_named(builder: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                    capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setattr(builder.sources, "PACKAGES", {tmp_path / "none.ttf": "fonts-noto-color-emoji"})
    assert builder.main(["--check"]) == 2
    assert "install fonts-noto-color-emoji" in capsys.readouterr().out
