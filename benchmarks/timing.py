"""Timing rivals side by side on a machine that is never quiet.

A lone run on a shared machine varies by a factor of two to four, so rivals take turns: A B C A B C …, at least seven
rounds. Quoted are the median and the quartiles, and the ratio of each rival to ours *round by round*, which a drift of
the machine's speed leaves alone.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Seconds of one contender, a value a round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        low, _, high = statistics.quantiles(self.seconds, n=4)
        return low, high


def race(contenders: Mapping[str, Callable[[], object]], rounds: int = 9, warm_up: int = 2) -> dict[str, Timing]:
    """Seconds of each contender, in turns. ValueError below 7 rounds, which say too little about the spread."""
    if rounds < 7:
        raise ValueError(f"{rounds} rounds say too little about the spread: use at least 7")
    for _ in range(warm_up):
        for run in contenders.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def speed_up(ours: Timing, rival: Timing) -> tuple[float, float, float]:
    """How many times faster ours is than the rival: median and quartiles of the per-round ratios."""
    ratios = [b / a for a, b in zip(ours.seconds, rival.seconds, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    return statistics.median(ratios), low, high
