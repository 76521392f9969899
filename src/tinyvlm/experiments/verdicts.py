"""A claim, written down before the runs, and its verdict: a Student-t interval over seeds (Student 1908).

Where a claim compares arms the seeds are paired: one number a seed, from all arms of that seed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Metrics = Mapping[str, float]

KINDS = ("headline", "direction")
HELD, NOT_HELD, UNDECIDED, NOT_TESTED = "held", "not held at this scale", "undecided", "not tested"

# Upper 97.5 % points of Student's t for 1 to 30 degrees of freedom; any table of the distribution has them.
_T = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
    *(2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423),
)


@dataclass(frozen=True)
class Claim:
    """A statement about arms of an experiment that runs can hold against.

    difference: from the metrics of each arm, all of one seed, the number that should lie above `margin`.
    metric: what is compared: the name of a metric, or words for what `value` or `difference` computes.
    value: one arm's own number for tables (None: the metric called `metric`, where an arm has it).
    kind: a week has one headline; a direction is reported without more seeds than the first ones.
    examples: where all seeds are measured on the same examples, how many these are; the interval then carries their
    sampling error (see `interval`). None where each seed draws examples of its own, or nothing is sampled.
    """

    id: str
    kind: str
    statement: str
    metric: str
    arms: Sequence[str]
    difference: Callable[[dict[str, Metrics]], float]
    margin: float = 0.0
    value: Callable[[Metrics], float] | None = None
    examples: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"Claim {self.id!r} is of kind {self.kind!r}: choose {' or '.join(KINDS)}.")
        if not self.arms:
            raise ValueError(f"Claim {self.id!r} names no arm: a claim compares at least one.")

    def judge(self, differences: Sequence[float]) -> tuple[list[float] | None, str]:
        """The interval of one difference a seed, and the verdict."""
        bounds = interval(differences, self.examples)
        return bounds and list(bounds), verdict(differences, self.margin, self.examples)


def direction(
    id: str,
    statement: str,
    metric: str,
    value: Callable[[Metrics], float],
    *,
    better: str,
    worse: str,
    margin: float = 0.0,
    also: Sequence[str] = (),
    kind: str = "direction",
    examples: int | None = None,
) -> Claim:
    """The claim that `value` of the arm `better` exceeds that of the arm `worse` by more than `margin`.

    `also` names arms that are shown between the two; they do not count.
    """
    return Claim(
        id=id,
        kind=kind,
        statement=statement,
        metric=metric,
        arms=(better, *also, worse),
        difference=lambda arms: value(arms[better]) - value(arms[worse]),
        margin=margin,
        value=value,
        examples=examples,
    )


def worst(*metrics: str) -> Callable[[Metrics], float]:
    """The lowest of some metrics of an arm, as the `value` of a claim."""
    return lambda found: min(found[name] for name in metrics)


def mean(*metrics: str) -> Callable[[Metrics], float]:
    """The mean of some metrics of an arm, as the `value` of a claim."""
    return lambda found: sum(found[name] for name in metrics) / len(metrics)


def interval(differences: Sequence[float], examples: int | None = None) -> tuple[float, float] | None:
    """95 % interval of the mean of paired differences, one per seed: mean ± t(n-1) s / sqrt(n). None below 2 seeds.

    Seeds that share their test examples do not show the error of that test. With `examples` the half width is
    sqrt((t s / sqrt(n))^2 + (1.96 e)^2), where e = sqrt(2 * 0.25 / examples) is the largest standard error that the
    difference of two shares over so many examples can have.
    """
    n = len(differences)
    if n < 2:
        return None
    if n - 1 > len(_T):
        raise ValueError(f"{n} seeds are more than the {len(_T) + 1} that the table of Student's t reaches: use fewer.")
    mean = math.fsum(differences) / n
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in differences) / (n - 1))
    half = math.hypot(_T[n - 2] * spread / math.sqrt(n), 1.96 * math.sqrt(0.5 / examples) if examples else 0.0)
    return mean - half, mean + half


def quantity(per_seed: Mapping[str, Sequence[float]], differences: Sequence[float]) -> str:
    """What the numbers of a claim are called beside those of its arms: "difference" or "value".

    A difference is the first arm's number minus the last one's, seed by seed. Everything else (one arm, a ratio, the
    smaller of two gaps) is a value that the claim computes in its own way.
    """
    arms = list(per_seed.values())
    if len(arms) < 2 or any(len(values) != len(differences) for values in arms):
        return "value"
    gaps = (first - last for first, last in zip(arms[0], arms[-1], strict=True))
    return "difference" if all(map(math.isclose, gaps, differences)) else "value"


def verdict(differences: Sequence[float], margin: float = 0.0, examples: int | None = None) -> str:
    """Held when the whole interval lies above `margin`, not held when below, else undecided; not tested by one seed."""
    bounds = interval(differences, examples)
    if bounds is None:
        return NOT_TESTED
    if bounds[0] <= margin <= bounds[1]:
        return UNDECIDED
    return HELD if bounds[0] > margin else NOT_HELD
