"""CIDEr-D: consensus with the references, weighted by how telling each n-gram is in this test set."""

import math
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from tinyvlm.metrics.arguments import checked
from tinyvlm.metrics.text import CaptionScores, split_captions


class _Counts(NamedTuple):
    """The non-zero entries of a count matrix [sentences, grams], sorted by sentence, then gram."""

    sentence: np.ndarray
    gram: np.ndarray
    times: np.ndarray
    grams: int


@checked
def cider_d(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], n: int = 4, sigma: float = 6.0
) -> CaptionScores:
    """CIDEr-D per image, in [0, 10], and its mean (Vedantam et al., CVPR 2015, section 4, equation 3 with clipping).

    hypotheses: one caption per image, words between blanks. references: the captions it may resemble. n: longest
    n-gram. sigma: width, in bigrams, of the penalty on unequal lengths. As in COCO's evaluation the term frequency is
    the raw count and the length of a caption is its number of bigrams.

    The weight of an n-gram is the log of the number of images over the number of images whose references contain it.
    So the score depends on the test set: scores of different image sets do not compare, and with one image all
    weights, hence the score, are 0. A caption equal to its only reference scores 10 if it has at least n words and
    something that tells it from other images in every length of n-gram. ValueError: see `split_captions`; n below 1
    or sigma not positive.
    """
    if n < 1:
        raise ValueError(f"n={n} is no n-gram length: choose 1 or more, 4 as usual.")
    if not sigma > 0:
        raise ValueError(f"sigma={sigma} must be positive, 6 as usual.")
    said, meant = split_captions(hypotheses, references)
    images = len(said)
    per_image = np.array([len(captions) for captions in meant])
    # Sentence i < images is the hypothesis of image i; the references follow, image by image.
    sentences = [*said, *chain.from_iterable(meant)]
    image = np.concatenate([np.arange(images), np.repeat(np.arange(images), per_image)])
    bigrams = np.array([max(0, len(words) - 1) for words in sentences])
    similarity = sum(_similarity(counts, image, images) for counts in _count_ngrams(sentences, n))
    gap = bigrams[images:] - bigrams[image[images:]]
    similarity = similarity * np.exp(-(gap**2) / (2 * sigma**2))
    scores = 10 * np.bincount(image[images:], similarity, minlength=images) / (n * per_image)
    return CaptionScores(float(scores.mean()), scores)


def _count_ngrams(sentences: list[list[str]], n: int) -> list[_Counts]:
    """Counts for every length 1 to n. An n-gram is numbered by its first n-1 words' number and its last word's."""
    tokens = list(chain.from_iterable(sentences))
    numbers = {word: number for number, word in enumerate(dict.fromkeys(tokens))}
    words = np.fromiter(map(numbers.__getitem__, tokens), dtype=np.int64, count=len(tokens))
    lengths = np.array([len(sentence) for sentence in sentences])
    sentence = np.repeat(np.arange(len(sentences)), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(tokens))  # words from here to the sentence's end
    gram, grams = words, len(numbers)
    counts = []
    for order in range(1, n + 1):
        here = np.flatnonzero(left >= order)
        if order > 1:
            kinds, inverse = np.unique(gram[here] * len(numbers) + words[here + order - 1], return_inverse=True)
            gram, grams = np.zeros_like(words), len(kinds)
            gram[here] = inverse
        entries, times = np.unique(sentence[here] * grams + gram[here], return_counts=True)
        of_sentence, of_gram = np.divmod(entries, max(1, grams))
        counts.append(_Counts(of_sentence, of_gram, times, grams))
    return counts


def _similarity(counts: _Counts, image: np.ndarray, images: int) -> np.ndarray:
    """Clipped cosine of every reference with its image's hypothesis, for one length of n-gram: float64 [references]."""
    key = image[counts.sentence] * counts.grams + counts.gram
    first = int(np.searchsorted(counts.sentence, images))  # where the references' entries begin
    pairs = np.sort(key[first:])  # (image, n-gram) as often as it has references with it: each image counts once
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    documents = np.bincount(pairs % max(1, counts.grams), minlength=counts.grams)
    weight = counts.times * (math.log(images) - np.log(np.maximum(1, documents)))[counts.gram]
    norm = np.sqrt(np.bincount(counts.sentence, weight**2, minlength=len(image)))
    # Entries of hypotheses are sorted by key, so the hypothesis's weight of a reference's n-gram is found by bisection.
    key_said, key_meant, meant = key[:first], key[first:], weight[first:]
    at = np.searchsorted(key_said, key_meant)
    shared = np.zeros(len(key_meant), dtype=bool)
    inside = at < first
    shared[inside] = key_said[at[inside]] == key_meant[inside]
    products = np.minimum(weight[:first][at[shared]], meant[shared]) * meant[shared]
    dots = np.bincount(counts.sentence[first:][shared] - images, products, minlength=len(image) - images)
    norms = norm[images:] * norm[image[images:]]
    return np.divide(dots, norms, out=np.zeros(len(dots)), where=norms > 0)
