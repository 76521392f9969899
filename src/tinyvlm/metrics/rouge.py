"""ROUGE-L as COCO's caption evaluation computes it: how much of a reference appears in order, gaps allowed."""

from collections.abc import Sequence

import numpy as np

from tinyvlm.metrics.arguments import checked
from tinyvlm.metrics.text import CaptionScores, split_captions


@checked
def rouge_l(hypotheses: Sequence[str], references: Sequence[Sequence[str]], beta: float = 1.2) -> CaptionScores:
    """F-measure of the longest common subsequence per image, in [0, 1], and its mean (Lin, 2004, section 3).

    hypotheses: one caption per image, words between blanks. references: the captions it may resemble. beta: weight of
    recall; 1.2 is COCO's. As there, the best precision and the best recall are taken independently of each other, so
    they may come from two references. An empty hypothesis scores 0. ValueError: see `split_captions`; beta not
    positive.
    """
    if not beta > 0:
        raise ValueError(f"beta={beta} must be positive: above 1 it favours recall, 1.2 as usual.")
    scores = []
    for words, captions in zip(*split_captions(hypotheses, references), strict=True):
        common = [common_subsequence_length(words, caption) for caption in captions]
        precision = max(common) / max(1, len(words))
        recall = max(length / len(caption) for length, caption in zip(common, captions, strict=True))
        # Nothing in common makes both 0, and then the fraction is undefined.
        score = (1 + beta**2) * precision * recall / (recall + beta**2 * precision) if precision else 0.0
        scores.append(score)
    return CaptionScores(float(np.mean(scores)), np.array(scores))


def common_subsequence_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest sequence of words that both contain in order, not necessarily side by side.

    A column of the usual table rises by 0 or 1 from row to row, so it fits into the bits of one integer, a 0 where it
    rises, and adding two integers moves all rows on at once (Hyyrö, 2004).
    """
    places: dict[str, int] = {}
    for position, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << position
    full = (1 << len(first)) - 1
    column = full
    for word in second:
        matches = column & places.get(word, 0)
        column = (column + matches | column - matches) & full
    return len(first) - column.bit_count()
