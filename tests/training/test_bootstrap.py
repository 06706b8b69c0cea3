"""Intervals against a loop that draws facts one by one, and against the normal theory."""

import math
import random
import statistics
import time

import numpy as np
import numpy.typing as npt
import pytest

from training.evaluation import bootstrap
from training.evaluation.bootstrap import Interval, mean_interval, paired_interval

Values = npt.NDArray[np.float64]


def relations(seed: int, sizes: tuple[int, ...], shift: float = 0.0) -> list[Values]:
    generator = np.random.default_rng(seed)
    return [generator.beta(1, 2 + i, size) + shift for i, size in enumerate(sizes)]


def slow_percentiles(groups: list[Values], per_fact: bool, draws: int) -> tuple[float, float]:
    """Resample fact by fact within each relation, take the mean of interest, sort."""
    chooser = random.Random(7)
    means = []
    for _ in range(draws):
        drawn = [chooser.choices(group.tolist(), k=len(group)) for group in groups]
        flat = [value for group in drawn for value in group]
        means.append(
            statistics.fmean(flat)
            if per_fact
            else statistics.fmean(statistics.fmean(group) for group in drawn)
        )
    cuts = statistics.quantiles(means, n=40, method="inclusive")
    return cuts[0], cuts[-1]


@pytest.mark.parametrize("average", ["per_relation", "per_fact"])
def test_against_drawing_one_by_one(average: str) -> None:
    groups = relations(1, (40, 15, 6))
    interval = mean_interval(groups, seed=3, average=average, resamples=8000)  # type: ignore[arg-type]
    low, high = slow_percentiles(groups, average == "per_fact", draws=4000)
    width = high - low
    assert interval.low == pytest.approx(low, abs=0.06 * width)
    assert interval.high == pytest.approx(high, abs=0.06 * width)
    flat = np.concatenate(groups)
    expected = flat.mean() if average == "per_fact" else np.mean([g.mean() for g in groups])
    assert interval.estimate == pytest.approx(float(expected))


def test_against_the_normal_theory() -> None:
    group = np.random.default_rng(0).normal(5, 2, 400)
    interval = mean_interval([group], seed=1, resamples=4000)
    half = 1.96 * group.std() / math.sqrt(len(group))
    assert interval.low == pytest.approx(group.mean() - half, abs=0.08 * half)
    assert interval.high == pytest.approx(group.mean() + half, abs=0.08 * half)


def test_it_holds_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    held = 0
    for i in range(300):
        interval = mean_interval([generator.exponential(1, 60)], seed=i, resamples=400)
        held += interval.low <= 1.0 <= interval.high
    assert 0.88 <= held / 300 <= 0.99  # a percentile interval of 60 skewed values: a bit under 95 %


def test_pairing_cancels_what_is_common() -> None:
    first, second = relations(2, (30, 50), shift=0.1), relations(2, (30, 50))
    difference = paired_interval(first, second, seed=0)
    for value in (difference.estimate, difference.low, difference.high):
        assert value == pytest.approx(0.1)
    doubled = [2 * group for group in second]
    ratio = paired_interval(doubled, second, seed=0, statistic="ratio")
    for value in (ratio.estimate, ratio.low, ratio.high):
        assert value == pytest.approx(2.0)


def test_the_ratio_is_of_the_means_not_the_mean_of_ratios() -> None:
    first, second = [np.array([1.0, 1.0])], [np.array([1.0, 0.25])]
    assert paired_interval(first, second, seed=0, statistic="ratio").estimate == pytest.approx(1.6)


def test_the_seed_decides_and_chunks_hold_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = relations(1, (40, 15))
    assert mean_interval(groups, seed=3) == mean_interval(groups, seed=3)
    assert mean_interval(groups, seed=3) != mean_interval(groups, seed=4)
    whole = mean_interval(groups, seed=3, resamples=4000)
    monkeypatch.setattr(bootstrap, "_CHUNK_DRAWS", 1000)
    parts = mean_interval(groups, seed=3, resamples=4000)
    assert parts.low == pytest.approx(whole.low, rel=0.05)
    assert parts.high == pytest.approx(whole.high, rel=0.05)


def test_a_constant_has_no_width() -> None:
    assert mean_interval([np.full(9, 0.25)], seed=0) == Interval(0.25, 0.25, 0.25)


def test_the_size_of_lama_takes_well_under_a_second() -> None:
    groups = relations(0, (100,) * 16)
    start = time.process_time()
    paired_interval(groups, groups, seed=0, resamples=2000)
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ([], [], "at least one relation"),
        ([np.array([])], [np.array([])], "one fact or more"),
        ([np.array([1.0])], [np.array([1.0, 2.0])], "same facts"),
        ([np.array([1.0])], [np.array([1.0])] * 2, "same facts"),
        ([np.array([math.nan])], [np.array([1.0])], "not finite"),
    ],
)
def test_refusals(first: list[Values], second: list[Values], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        paired_interval(first, second, seed=0)


def test_a_ratio_to_zero_is_refused() -> None:
    ones, rare = [np.ones(3)], [np.array([0.0, 0.0, 1.0])]
    with pytest.raises(ValueError, match="statistic='difference'"):
        paired_interval(ones, rare, seed=0, statistic="ratio")
    assert paired_interval(ones, rare, seed=0).estimate == pytest.approx(2 / 3)


def test_options_out_of_range() -> None:
    with pytest.raises(ValueError, match="resamples"):
        mean_interval([np.ones(2)], seed=0, resamples=0)
    with pytest.raises(ValueError, match="level"):
        mean_interval([np.ones(2)], seed=0, level=1.0)
