"""Captions as words: what BLEU, ROUGE-L and CIDEr-D count.

The three read a caption as words between blanks, so the tokenisation is the caller's choice, made once for hypotheses
and references alike. `caption_words` is the one to use on raw sentences; the emoji world's captions may go through it
too or stay as they are. A score means nothing without its tokenisation: stripping punctuation alone moves BLEU-4.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

# What parts no words: a soft hyphen, directions of writing and the like say how a text is shown, and three Armenian
# signs of tone stand inside a word. The zero-width space parts words without showing it.
_SPELLING = str.maketrans(
    {"’": "'", "‛": "'", "＇": "'", "‐": "-", "‑": "-", "\u200b": " "}
    | dict.fromkeys("\u00ad\u061c\u200e\u200f\u2060\ufeff\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069՛՜՞", "")
)
# Signs that Unicode calls punctuation and that are words: "&" is read aloud, "?" is not.
_READ_ALOUD = frozenset("#%&*/@\\＃％＆＊／＠＼§‰‱٪")


class CaptionScores(NamedTuple):
    """A caption metric's value: the mean over images, and each image's own score (float64 [images])."""

    mean: float
    per_image: np.ndarray


@lru_cache(maxsize=2)
def _patterns(marked: bool) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Clitics that the Penn Treebank cuts off, which count as words of their own; and words.

    Python's "letter" leaves out the marks that Indic and Arabic vowels are, and the joiners that hold their letters
    together. For a text that is `marked` with any of them, they are letters here, at many times the cost.
    """
    marks = "".join(filter(_is_mark, map(chr, range(0x300, 0x1F000)))) if marked else ""
    letter = rf"[\w{marks}]"
    symbol = rf"\S[{marks}]*(?:(?<=\u200d)\S[{marks}]*)*" if marked else r"\S"
    clitic = rf"(?:n't|'(?:s|m|d|re|ve|ll))(?!{letter})"
    number = r"(?:\d+[.,:٫٬]|(?<![\w.])\.)\d+(?:[.,:٫٬]\d+)*"
    abbreviation = rf"(?<!{letter})[^\W\d_](?:\.[^\W\d_])+\.?(?!'?{letter})"
    word = re.compile(rf"{number}|{abbreviation}|{clitic}|{letter}+(?:['\-·״׳]{letter}+)*|{symbol}")
    return re.compile(rf"(?<={letter})({clitic})"), word


def caption_words(caption: str) -> str:
    """The caption in lower case, without punctuation, its words parted by single blanks.

    Made after what COCO's evaluation does (Stanford's Penn Treebank tokenizer, lower-cased, then a list of punctuation
    removed; Chen et al., 2015, arXiv 1504.00325) with two regular expressions instead of Java: "don't" → "do n't",
    "dog's" → "dog 's", "cannot" → "can not"; "t-shirt" and "o'clock" stay whole; $, % and & stay words.

    Numbers keep the points and commas inside and a point in front ("1,000.5", ".5", "3:30"); a sign goes ("-5" → "5")
    and a fraction falls apart ("1/2" → "1 / 2"). Abbreviations of single letters stay whole, as there ("U.S." → "u.s.",
    "U.S" → "u.s"); any other loses its period ("mr." → "mr"; there it stays). "gonna" stays whole (there "gon na"),
    and brackets vanish (there they stay, as "-lrb-").

    In every script a word is its letters with their vowel signs and other marks, and what Unicode calls punctuation
    goes ("¿", "।", "؟", "「"). Two spellings of one letter are one (NFC). Scripts that write no blanks between words
    (Chinese, Japanese, Thai) are not cut: everything between two marks of punctuation is one word.
    """
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", caption).translate(_SPELLING).lower())
    clitic, word = _patterns(not text.isascii() and any(map(_is_mark, text)))
    found = word.findall(clitic.sub(r" \1", text.replace("cannot", "can not")))
    return " ".join(each for each in found if not _is_silent(each))


def _is_mark(letter: str) -> bool:
    return unicodedata.category(letter)[0] == "M" or letter in "\u200c\u200d"


@lru_cache(maxsize=10_000)
def _is_silent(word: str) -> bool:
    """Whether nothing but punctuation, and marks without a letter, is in it."""
    return all(sign == "`" or (unicodedata.category(sign)[0] in "PMC" and sign not in _READ_ALOUD) for sign in word)


def ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each run of n words occurs."""
    return Counter(zip(*(words[start:] for start in range(n)), strict=False))


def split_captions(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[list[list[str]], list[list[list[str]]]]:
    """The words of one hypothesis and of one or more references per image.

    A hypothesis may be empty (models do say nothing). ValueError for no images, lengths that differ, an image without
    references, a reference without words, or a plain string where a list of references belongs.
    """
    if len(hypotheses) == 0:
        raise ValueError("There are no captions to score: pass at least one hypothesis.")
    if isinstance(hypotheses, str):
        raise ValueError("hypotheses is one string: pass a list with one caption per image.")
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses and {len(references)} lists of references: pass one per image.")
    for image, captions in enumerate(references):
        if isinstance(captions, str):
            raise ValueError(f"The references of image {image} are one string: pass a list of captions.")
        if len(captions) == 0:
            raise ValueError(f"Image {image} has no references: leave it out, or give it at least one caption.")
    words = [[caption.split() for caption in captions] for captions in references]
    for image, split in enumerate(words):
        if not all(split):
            raise ValueError(f"A reference of image {image} has no words: leave that reference out.")
    return [caption.split() for caption in hypotheses], words
