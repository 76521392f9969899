"""Two Debian packages as the emoji world reads them: the list of emoji (unicode-data), names (unicode-cldr-core)."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

EMOJI_TEST = Path("/usr/share/unicode/emoji/emoji-test.txt")
CLDR = Path("/usr/share/unicode/cldr/common")
FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
PACKAGES = {
    FONT: "fonts-noto-color-emoji",
    EMOJI_TEST: "unicode-data",
    CLDR / "annotations" / "en.xml": "unicode-cldr-core",
}
SKIN_TONES = range(0x1F3FB, 0x1F400)
VARIATION_SELECTOR = "\ufe0f"  # CLDR writes its keys without it


@dataclass(frozen=True)
class Listed:
    """A fully-qualified emoji without skin tone, as emoji-test.txt lists it."""

    char: str
    group: str
    subgroup: str
    title: str


def missing_packages() -> list[str]:
    """Debian packages whose data the build needs and this machine lacks."""
    return sorted({package for path, package in PACKAGES.items() if not path.exists()})


def list_emoji(path: Path = EMOJI_TEST) -> list[Listed]:
    """All untoned fully-qualified emoji in the order of the file (1,870 in version 15.0)."""
    group = subgroup = ""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# group:"):
            group = line.partition(":")[2].strip()
        elif line.startswith("# subgroup:"):
            subgroup = line.partition(":")[2].strip()
        elif match := re.match(r"([0-9A-F ]+?) *; fully-qualified *# \S+ E[\d.]+ (.+)", line):
            points = [int(point, 16) for point in match[1].split()]
            if not any(point in SKIN_TONES for point in points):
                found.append(Listed("".join(map(chr, points)), group, subgroup, match[2]))
    return found


def read_annotations(language: str, folder: Path = CLDR) -> tuple[dict[str, str], dict[str, list[str]]]:
    """CLDR's names and keywords of one language, derived ones (ZWJ sequences, flags) included; keys without U+FE0F."""
    names: dict[str, str] = {}
    keywords: dict[str, list[str]] = {}
    for part in ("annotations", "annotationsDerived"):
        for node in ElementTree.parse(folder / part / f"{language}.xml").iter("annotation"):
            key = node.attrib["cp"].replace(VARIATION_SELECTOR, "")
            if node.get("type") == "tts":
                names[key] = (node.text or "").strip()
            else:
                keywords[key] = [word.strip() for word in (node.text or "").split("|") if word.strip()]
    return names, keywords
