"""Percentile bootstrap intervals of means over facts and over relations, and of comparisons.

Efron & Tibshirani (1993), "An Introduction to the Bootstrap", chapter 13 (percentile interval);
Davison & Hinkley (1997), "Bootstrap Methods and their Application", chapter 3 (several samples:
each is resampled within itself). The relations are taken as given: intervals say how much other
facts of the same relations would move a mean, not how much other relations would.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
import numpy.typing as npt

from training.evaluation.metrics import Average, Values

Statistic = Literal["difference", "ratio"]

RESAMPLES = 2000
LEVEL = 0.95

# Draws made at a time: bounds the extra memory to some 100 MiB whatever the number of facts is.
_CHUNK_DRAWS = 4_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the interval around it that holds it at `level` (0.95: 95 %)."""

    estimate: float
    low: float
    high: float
    level: float = LEVEL


def mean_interval(
    groups: Sequence[Values],
    *,
    seed: int,
    average: Average = "per_relation",
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """Return the interval of a mean: `groups` holds (n,) values of the facts of each relation.

    With one group it is the interval of that relation's mean. With several, each group is
    resampled within itself. A group of a single fact has no spread to show.

    Raises:
        ValueError: no groups, an empty one, values that are not finite, or options out of range.
    """
    columns = [_column(group) for group in groups]
    weights = _weights(columns, average)
    means = _resampled_means(columns, weights, resamples=resamples, seed=seed)[:, 0]
    return _interval(_means(columns, weights)[0], means, level)


def paired_interval(
    first: Sequence[Values],
    second: Sequence[Values],
    *,
    seed: int,
    statistic: Statistic = "difference",
    average: Average = "per_relation",
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """Return the interval of `first - second` or `first / second`, means over the same facts.

    Both systems see the same resampled facts, so what is hard or easy for both cancels. `first`
    and `second` hold (n,) values of each relation, fact by fact in the same order.

    Raises:
        ValueError: as `mean_interval`; groups of different sizes; a ratio to a mean that is zero,
            overall or in a resample (compare such rare hits by their difference).
    """
    if [group.shape for group in first] != [group.shape for group in second]:
        raise ValueError("a paired comparison needs both systems on the same facts")
    pairs = [
        np.hstack([_column(one), _column(two)]) for one, two in zip(first, second, strict=True)
    ]
    weights = _weights(pairs, average)
    means = _resampled_means(pairs, weights, resamples=resamples, seed=seed)
    observed = _means(pairs, weights)
    return _interval(
        float(_compared(observed[None, :], statistic)[0]), _compared(means, statistic), level
    )


def _compared(means: Values, statistic: Statistic) -> Values:
    """(B, 2) means of two systems -> (B,) their difference or ratio."""
    if statistic == "difference":
        return np.asarray(means[:, 0] - means[:, 1])
    if statistic == "ratio":
        if np.any(means[:, 1] == 0):
            raise ValueError(
                "the second system's mean is zero (in a resample at least): no ratio to it; "
                "compare by statistic='difference'"
            )
        return np.asarray(means[:, 0] / means[:, 1])
    assert_never(statistic)


def _column(group: Values) -> Values:
    values = np.asarray(group, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"each relation needs a vector of one fact or more, not {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("a value is not finite")
    return values[:, None]


def _weights(groups: Sequence[Values], average: Average) -> Values:
    """Return (R,) how much each relation's mean counts, summing to 1."""
    if not groups:
        raise ValueError("a mean needs at least one relation")
    match average:
        case "per_relation":
            counts = np.ones(len(groups))
        case "per_fact":
            counts = np.array([len(group) for group in groups], dtype=np.float64)
        case _:
            assert_never(average)
    return np.asarray(counts / counts.sum())


def _means(groups: Sequence[Values], weights: Values) -> Values:
    """Groups of (n, M), (R,) -> (M,) weighted means."""
    return np.asarray(weights @ np.stack([group.mean(axis=0) for group in groups]))


def _resampled_means(
    groups: Sequence[Values], weights: Values, *, resamples: int, seed: int
) -> Values:
    """Groups of (n, M), (R,) -> (B, M) weighted means of B resamples."""
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, not {resamples}")
    generator = np.random.default_rng(seed)
    total = np.zeros((resamples, groups[0].shape[1]))
    for group, weight in zip(groups, weights, strict=True):
        total += weight * _group_means(group, resamples, generator)
    return total


def _group_means(group: Values, resamples: int, generator: np.random.Generator) -> Values:
    """(n, M) -> (B, M): means of B draws of n rows with replacement."""
    rows, columns = group.shape
    means = np.empty((resamples, columns))
    step = max(1, _CHUNK_DRAWS // rows)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        draws = generator.integers(0, rows, size=(size, rows))
        # How often each fact was drawn is all a mean needs: one product serves every column.
        offsets = np.arange(size)[:, None] * rows
        drawn = np.bincount((draws + offsets).ravel(), minlength=size * rows)
        means[start : start + size] = drawn.reshape(size, rows).astype(np.float64) @ group / rows
    return means


def _interval(estimate: float, statistics: npt.NDArray[np.float64], level: float) -> Interval:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, not {level}")
    tail = (1 - level) / 2
    low, high = np.quantile(statistics, [tail, 1 - tail])
    return Interval(float(estimate), float(low), float(high), level)
