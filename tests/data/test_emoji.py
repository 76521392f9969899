"""The shipped emoji: complete, curated with reasons, distinct, the same pixels everywhere, and loud when damaged."""

import hashlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tinyvlm.data.checksums import ASSETS, read_asset, read_sums
from tinyvlm.data.emoji import LANGUAGES, NOUN_SIZE, OTHER_SIZE, EmojiTable, load_emoji, sheet_cells
from tinyvlm.data.resize import area_weights, resize_area
from tinyvlm.data.words import BACKGROUND_RGB, BACKGROUNDS, COLOUR_RGB, COLOURS, WORDS

# First 16 hexadecimal digits of the SHA-256 of pixels. They change only with the artwork.
PIXELS = {
    ("dog", 22): "eb9dab26d916804e",
    ("dog", 64): "3485e71556ca7122",
    ("pizza", 24): "d909ee5a01b21994",
    ("rocket", 11): "cacfdbd5baaf28f0",
    ("umbrella", 100): "560789c9466aa00c",
}


@pytest.fixture(scope="module")
def table() -> EmojiTable:
    return load_emoji()


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the data files that a test may damage."""
    folder = tmp_path / "assets"
    shutil.copytree(ASSETS, folder)
    return folder


def test_counts_and_ids(table: EmojiTable) -> None:
    assert len(table.emoji) == 1849
    assert [one.id for one in table.emoji] == list(range(1849))
    assert 320 <= len(table.nouns) <= 400
    assert len(table.seen) >= 264 and len(table.novel) >= 48
    assert sorted(table.seen + table.novel) == list(range(len(table.nouns)))
    assert LANGUAGES == ("en", "ko", "ja", "zh", "es", "fr", "de", "ru", "ar", "hi", "vi", "id")


def test_every_untoned_emoji_is_a_noun_or_left_out_with_a_reason(table: EmojiTable) -> None:
    shipped = json.loads(read_asset("annotations.json"))
    unnamed = {row["emoji"] for row in shipped["without_name"]}
    listed = {one.char for one in table.emoji} | unnamed
    assert len(listed) == 1870 and len(unnamed) == 21
    subgroup = {one.char: one.subgroup for one in table.emoji}
    curated = {one.char for one in table.nouns}
    named = [char for family in table.left_out for char in family.emoji]
    assert len(named) == len(set(named)), "an emoji is named in two families"
    assert not curated & set(named) and set(named) <= listed
    wholes = [name for family in table.left_out for name in family.subgroups]
    assert len(wholes) == len(set(wholes)) and set(wholes) <= set(subgroup.values())
    unaccounted = [c for c in listed - curated - set(named) if subgroup.get(c) not in wholes]
    assert not unaccounted
    assert unnamed <= set(named)
    for family in table.left_out:
        assert len(family.reason) > 20 and (family.subgroups or family.emoji), family.family


def test_names(table: EmojiTable) -> None:
    english = table.names("en")
    assert len(set(english)) == len(english)
    for noun in english:
        assert noun.isascii() and noun.isalpha() and noun.islower() and len(noun) <= 14, noun
    assert not set(english) & {part for term in WORDS for part in term.split()}, "a noun is a template word too"
    for language in LANGUAGES:
        names = table.names(language)
        assert all(names) and len(set(names)) == len(names), f"two nouns share a name in {language}"
        assert all(one.names[language].strip() for one in table.emoji)
    assert not any(" " in name for name in table.names("ko"))
    dog = english.index("dog")
    assert table.name(dog, "en") == "dog" and table.name(dog, "ko") == "개" and table.name(dog, "de") == "Hund"
    assert "puppy" in table.nouns[dog].keywords["en"] or "pet" in table.nouns[dog].keywords["en"]
    wolf = english.index("wolf")
    assert (table.article(wolf), table.plural(wolf)) == ("a", "wolves")
    assert table.article(english.index("apple")) == "an" and table.article(english.index("ufo")) == "a"
    bread = english.index("bread")
    assert (table.article(bread), table.plural(bread)) == ("", "bread")


def test_splits_are_spread(table: EmojiTable) -> None:
    groups = [one.group for one in table.nouns]
    for group in set(groups):
        share = sum(groups[i] == group for i in table.novel) / groups.count(group)
        assert 0.1 <= share <= 0.26, f"{group}: {share:.2f} of its nouns are novel"
    first = [groups[i] for i in table.seen[:64]]
    assert len(set(first)) >= 5 and max(first.count(group) for group in first) <= 32


@pytest.mark.parametrize("call", [
    lambda t: t.name(0, "tlh"),
    lambda t: t.names("english"),
    lambda t: t.name(9999, "en"),
    lambda t: t.plural(-1),
    lambda t: t.article(9999),
    lambda t: t.sprite(9999, 22),
    lambda t: t.sprite(0, 0),
    lambda t: t.noun_sprites(4096),
])  # fmt: skip
def test_bad_requests_name_the_limit(table: EmojiTable, call) -> None:
    with pytest.raises(ValueError, match=r"(choose|run from)"):
        call(table)


def test_sprites(table: EmojiTable) -> None:
    sprites = table.noun_sprites(22)
    assert sprites.shape == (len(table.nouns), 22, 22, 4) and sprites.dtype == np.uint8
    assert np.array_equal(sprites[7], table.sprite(table.nouns[7].id, 22))
    assert table.noun_sprites(22) is sprites and not sprites.flags.writeable
    ink = (sprites[..., 3] > 0).mean((1, 2))
    assert ink.min() > 0.1
    for one in table.emoji[::100]:
        alpha = table.sprite(one.id, 32)[..., 3]
        assert alpha.any(), one.char
    # Centred: the ink touches two opposite sides of the square.
    alpha = table.noun_sprites(NOUN_SIZE)[..., 3] > 0
    touches = (alpha[:, 0].any(1) & alpha[:, -1].any(1)) | (alpha[:, :, 0].any(1) & alpha[:, :, -1].any(1))
    assert touches.all()


@pytest.mark.parametrize(("noun", "size"), list(PIXELS))
def test_pixels_are_the_committed_ones(table: EmojiTable, noun: str, size: int) -> None:
    one = next(one for one in table.nouns if one.noun == noun)
    digest = hashlib.sha256(table.sprite(one.id, size).tobytes()).hexdigest()
    assert digest[:16] == PIXELS[noun, size]


def test_nouns_are_distinct_at_22_pixels(table: EmojiTable) -> None:
    sprites = table.noun_sprites(22).astype(np.float64)
    alpha = sprites[..., 3:] / 255
    over = np.concatenate([(sprites[..., :3] - (230, 225, 235)) * alpha, alpha * 80], -1).reshape(len(sprites), -1)
    squares = (over**2).sum(1)
    distance = np.sqrt(np.maximum(squares[:, None] + squares - 2 * over @ over.T, 0) / over.shape[1])
    distance[np.diag_indices(len(sprites))] = np.inf
    a, b = np.unravel_index(distance.argmin(), distance.shape)
    assert distance[a, b] > 25, f"{table.name(int(a))} and {table.name(int(b))} look alike"


def test_plates_and_backgrounds_are_distinct() -> None:
    colours = np.array(COLOUR_RGB + BACKGROUND_RGB, dtype=float)
    names = COLOURS + BACKGROUNDS
    assert len(COLOURS) == len(BACKGROUNDS) == 8 and len(set(names)) == 16
    gaps = np.linalg.norm(colours[:, None] - colours, axis=-1)
    gaps[np.diag_indices(16)] = np.inf
    a, b = np.unravel_index(gaps.argmin(), gaps.shape)
    assert gaps[a, b] > 25, f"{names[a]} and {names[b]}"
    assert gaps[:8, :8].min() > 80
    assert colours[8:].min() > colours[:8].min(1).max(), "a background is as saturated as a plate"


def _slow_area(pixels: np.ndarray, size: int) -> np.ndarray:
    """Each target pixel by hand, in whole numbers: overlap times colour times alpha."""
    side = len(pixels)
    out = np.zeros((size, size, 4), np.uint8)
    for row in range(size):
        for column in range(size):
            colour, covered = [0, 0, 0], 0
            for y in range(side):
                height = min((row + 1) * side, (y + 1) * size) - max(row * side, y * size)
                for x in range(side):
                    width = min((column + 1) * side, (x + 1) * size) - max(column * side, x * size)
                    if height > 0 and width > 0:
                        *rgb, a = (int(v) for v in pixels[y, x])
                        covered += height * width * a
                        colour = [c + height * width * a * v for c, v in zip(colour, rgb, strict=True)]
            alpha = (2 * covered + side * side) // (2 * side * side)
            if alpha:
                out[row, column] = [(2 * c + covered) // (2 * covered) for c in colour] + [alpha]
    return out


@pytest.mark.parametrize("size", [1, 5, 7, 12, 20])
def test_resize_is_the_integer_average(size: int) -> None:
    pixels = np.random.default_rng(size).integers(0, 256, (12, 12, 4), dtype=np.uint8)
    pixels[:4, :, 3] = 0
    assert np.array_equal(resize_area(pixels, size), _slow_area(pixels, size) if size != 12 else pixels)
    assert (area_weights(12, size).sum(1) == 12).all()


def test_sheet_cells_do_not_overlap() -> None:
    cells = sheet_cells([i % 5 == 0 for i in range(700)])
    taken = np.zeros((2048, 2048), np.int32)
    for top, left, size in cells:
        taken[top : top + size, left : left + size] += 1
    assert taken.max() == 1 and {size for *_, size in cells} == {NOUN_SIZE, OTHER_SIZE}


@pytest.mark.parametrize("name", ["annotations.json", "nouns.json", "sprites.png"])
def test_a_damaged_file_is_named_with_the_remedy(copied: Path, name: str) -> None:
    data = bytearray((copied / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / name).write_bytes(data)
    with pytest.raises(ValueError) as caught:
        load_emoji(copied)
    message = str(caught.value)
    assert name in message and "make assets" in message and "\n" not in message
    assert hashlib.sha256(data).hexdigest()[:12] in message and read_sums(copied)[name][:12] in message


def test_a_missing_or_unlisted_file_is_named_with_the_remedy(copied: Path) -> None:
    (copied / "sprites.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"sprites\.png is missing.*make assets"):
        load_emoji(copied)
    with pytest.raises(ValueError, match=r"other\.json has no line in SHA256SUMS"):
        read_asset("other.json", copied)
    (copied / "SHA256SUMS").write_text("nonsense\n")
    with pytest.raises(ValueError, match="line 1"):
        read_sums(copied)
    (copied / "SHA256SUMS").unlink()
    with pytest.raises(FileNotFoundError, match="make assets"):
        load_emoji(copied)


def test_every_shipped_file_matches_its_checksum_and_the_whole_is_small() -> None:
    sums = read_sums()
    files = {path.name for path in ASSETS.iterdir() if path.name not in ("SHA256SUMS", ".gitattributes")}
    assert files == set(sums)
    assert sum(len(read_asset(name)) for name in sums) <= 6 * 2**20
    assert "SIL OPEN FONT LICENSE" in read_asset("LICENSE.noto-color-emoji.txt").decode()
    assert "Unicode-DFS-2016" in read_asset("LICENSE.unicode-cldr.txt").decode()


def test_loading_is_fast_and_light() -> None:
    best = float("inf")
    for _ in range(5):
        load_emoji.cache_clear()
        start = time.process_time()
        load_emoji()
        best = min(best, time.process_time() - start)
    assert best < 0.1  # 0.03 s where this was written
    script = (
        "import sys, tinyvlm.data.emoji;"
        "print([m for m in ('transformers', 'matplotlib', 'datasets', 'torch') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
