"""BLEU over a corpus, with the conventions of COCO's caption evaluation."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from tinyvlm.metrics.arguments import checked
from tinyvlm.metrics.text import ngrams, split_captions

# COCO's scorer adds these instead of smoothing, so that 0 matches give almost 0 and no division fails.
_TINY, _SMALL = 1e-15, 1e-9


class Bleu(NamedTuple):
    """BLEU-1 to BLEU-n and what they are made of. Lengths are in words, summed over the corpus."""

    scores: tuple[float, ...]
    precisions: tuple[float, ...]
    brevity_penalty: float
    hypothesis_length: int
    reference_length: int


@checked
def bleu(hypotheses: Sequence[str], references: Sequence[Sequence[str]], n: int = 4) -> Bleu:
    """Corpus BLEU-1 to BLEU-n, each in [0, 1] (Papineni et al., 2002).

    hypotheses: one caption per image, words between blanks. references: the captions it may resemble. n: longest
    n-gram. Matches and lengths are pooled over the corpus, so this is not the mean of each image's BLEU: one long
    caption weighs more than a short one, and an image without a matching 4-gram costs little. A hypothesis n-gram
    counts as often as it occurs in the reference that has most of it. The brevity penalty takes, per image, the
    reference length closest to the hypothesis's, of two equally close ones the shorter. ValueError: see
    `split_captions`; n below 1.
    """
    if n < 1:
        raise ValueError(f"n={n} is no n-gram length: choose 1 or more, 4 as usual.")
    found, possible = [0] * n, [0] * n
    hypothesis_length = reference_length = 0
    for words, captions in zip(*split_captions(hypotheses, references), strict=True):
        hypothesis_length += len(words)
        reference_length += min((abs(len(caption) - len(words)), len(caption)) for caption in captions)[1]
        for order in range(1, n + 1):
            counted = [ngrams(caption, order) for caption in captions]
            found[order - 1] += sum(
                min(times, max(counts.get(gram, 0) for counts in counted))
                for gram, times in ngrams(words, order).items()
            )
            possible[order - 1] += max(0, len(words) - order + 1)
    precisions = [(f + _TINY) / (p + _SMALL) for f, p in zip(found, possible, strict=True)]
    ratio = (hypothesis_length + _TINY) / (reference_length + _SMALL)
    penalty = 1.0 if ratio >= 1 else math.exp(1 - 1 / ratio)
    scores = tuple(penalty * math.prod(precisions[:order]) ** (1 / order) for order in range(1, n + 1))
    return Bleu(scores, tuple(precisions), penalty, hypothesis_length, reference_length)
