"""Captions as words: what BLEU, ROUGE-L and CIDEr-D count.

The three read a caption as words between blanks, so the tokenisation is the caller's choice, made once for hypotheses
and references alike. `caption_words` is the one to use on raw sentences; the emoji world's captions may go through it
too or stay as they are. A score means nothing without its tokenisation: stripping punctuation alone moves BLEU-4.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Clitics that the Penn Treebank cuts off, and which therefore count as words of their own.
_CLITIC = re.compile(r"(?<=\w)(n't|'(?:s|m|d|re|ve|ll))(?!\w)")
_WORD = re.compile(r"\d+(?:[.,:]\d+)+|n't(?!\w)|'(?:s|m|d|re|ve|ll)(?!\w)|\w+(?:['-]\w+)*|\S")
_PUNCTUATION = frozenset("'\"`.,:;?!-–—…()[]{}«»“”„。、！？，：；（）「」")


class CaptionScores(NamedTuple):
    """A caption metric's value: the mean over images, and each image's own score (float64 [images])."""

    mean: float
    per_image: np.ndarray


def caption_words(caption: str) -> str:
    """The caption in lower case, without punctuation, its words parted by single blanks.

    Made after what COCO's evaluation does (Stanford's Penn Treebank tokenizer, lower-cased, then a list of punctuation
    removed; Chen et al., 2015, arXiv 1504.00325) with two regular expressions instead of Java: "don't" → "do n't",
    "dog's" → "dog 's", "cannot" → "can not"; "t-shirt", "o'clock" and "1,000.5" stay whole; $, % and & stay words.
    It differs where that tokenizer knows more: an abbreviation loses its period here ("mr." → "mr"), "gonna" stays
    whole (there "gon na"), and brackets vanish (there they stay, as "-lrb-").
    """
    text = caption.lower().replace("’", "'").replace("cannot", "can not")
    return " ".join(word for word in _WORD.findall(_CLITIC.sub(r" \1", text)) if word not in _PUNCTUATION)


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
