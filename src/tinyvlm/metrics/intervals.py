"""How far a mean over examples can be trusted: the percentile bootstrap (Efron, 1979).

It answers for the draw of the *examples* only. How much a result depends on the seed of the training run is another
question, answered by runs with several seeds (`tinyvlm.experiments.claims`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from tinyvlm.metrics.arguments import checked

_INDICES_AT_ONCE = 2_000_000  # 16 MB of int64, so that large test sets do not fill the memory


class Interval(NamedTuple):
    """A mean and the bounds that the bootstrap gives it, in the unit of the values."""

    mean: float
    low: float
    high: float


@checked
def bootstrap_interval(
    values: Tensor | np.ndarray | Sequence[float], level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval for the mean of `values`.

    values: one number per example, for instance hits (0 or 1) of a retrieval, any shape. level: share of resampled
    means inside the interval, in (0, 1). The same seed gives the same interval. ValueError for fewer than two values,
    values that are not finite, or a level or number of resamples out of range.
    """
    array = values.detach().cpu() if isinstance(values, Tensor) else values
    try:
        data = np.asarray(array.double().numpy() if isinstance(array, Tensor) else array)
        if data.dtype.kind not in "biuf":
            raise TypeError(f"dtype {data.dtype}")
    except (TypeError, ValueError) as error:
        raise ValueError(f"values are no real numbers ({error}): pass one number per example.") from error
    data = data.astype(np.float64).reshape(-1)
    if data.size < 2:
        raise ValueError(f"A bootstrap needs at least 2 values and got {data.size}: measure more examples.")
    if not np.isfinite(data).all():
        raise ValueError("values hold NaN or infinity, so their mean says nothing: find the step that produced them.")
    if not 0 < level < 1:
        raise ValueError(f"level={level} must lie between 0 and 1, for example 0.95.")
    if resamples < 100:
        raise ValueError(f"resamples={resamples} is too few for the tails of an interval: use at least 100.")
    rng = np.random.default_rng(seed)
    step = max(1, _INDICES_AT_ONCE // data.size)
    means = np.concatenate(
        [
            data[rng.integers(0, data.size, size=(min(step, resamples - start), data.size))].mean(axis=1)
            for start in range(0, resamples, step)
        ]
    )
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(data.mean()), float(low), float(high))
