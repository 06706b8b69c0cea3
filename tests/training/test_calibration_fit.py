"""The sigmoid and the threshold of a calibration, on candidates made up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.calibration import LEAST_OF_EACH, Candidates, fit_calibration, fit_sigmoid
from training.calibration.fitting import best_threshold


def drawn(
    slope: float, intercept: float, count: int = 20_000
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    random = np.random.default_rng(0)
    values = random.uniform(-9, 0, count)
    return values, random.random(count) < 1 / (1 + np.exp(-(slope * values + intercept)))


def candidates(true: int, others: int, gap: float = 1.0) -> Candidates:
    """True ones around -2, the others `gap` below."""
    random = np.random.default_rng(1)
    log_probs = -2 + 0.5 * random.standard_normal(true + others)
    log_probs[true:] -= gap
    return Candidates(log_probs, np.arange(true + others) < true, subjects=20, facts=true + 5)


@pytest.mark.parametrize(("slope", "intercept"), [(1.5, 2.0), (0.6, -0.5), (1.0, 0.0)])
def test_a_known_sigmoid_is_found_again(slope: float, intercept: float) -> None:
    values, true = drawn(slope, intercept)
    assert fit_sigmoid(values, true) == pytest.approx((slope, intercept), abs=0.1)


def test_probabilities_sum_to_the_true_ones() -> None:
    # What maximum likelihood promises of the intercept, but for the smoothing and the prior.
    values, true = drawn(0.7, -1.0)
    slope, intercept = fit_sigmoid(values, true)
    claimed = (1 / (1 + np.exp(-(slope * values + intercept)))).sum()
    assert claimed == pytest.approx(true.sum(), rel=0.002)


def test_the_fit_is_the_same_each_time_and_whatever_the_order() -> None:
    values, true = drawn(1.2, 0.5, 500)
    assert fit_sigmoid(values, true) == fit_sigmoid(values.copy(), true.copy())
    assert fit_sigmoid(values[::-1], true[::-1]) == pytest.approx(fit_sigmoid(values, true))


@pytest.mark.parametrize("gap", [1e-3, 1.0, 50.0])
def test_separable_values_stay_finite(gap: float) -> None:
    values = np.repeat([-3.0 - gap, -3.0], 30)
    slope, intercept = fit_sigmoid(values, values == -3.0)
    assert np.isfinite([slope, intercept]).all()
    assert 0 < slope < 1000


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3])
@pytest.mark.parametrize("true", [0, 1, 7])
def test_few_or_odd_values_stay_finite(scale: float, true: int) -> None:
    values = -scale * np.arange(1.0, 8.0)
    assert np.isfinite(fit_sigmoid(values, np.arange(7) < true)).all()
    assert np.isfinite(fit_sigmoid(np.full(7, -2.0), np.arange(7) < true)).all()


def f1_at(
    threshold: float, probabilities: NDArray[np.float64], true: NDArray[np.bool_], facts: int
) -> float:
    accepted = probabilities >= threshold
    return float(2 * (accepted & true).sum() / (accepted.sum() + facts))


@settings(deadline=None)  # a busy machine is slow, not wrong
@given(
    ranked=st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=30).filter(
        lambda pairs: any(true for _, true in pairs)
    ),
    missed=st.integers(0, 20),
)
def test_no_threshold_has_a_better_f1(ranked: list[tuple[int, bool]], missed: int) -> None:
    probabilities = np.array([value / 16 for value, _ in ranked])
    true = np.array([true for _, true in ranked])
    facts = int(true.sum()) + missed
    chosen = best_threshold(probabilities, true, facts)
    best = max(f1_at(value, probabilities, true, facts) for value in probabilities)
    assert f1_at(chosen, probabilities, true, facts) == pytest.approx(best)
    # Half-way between two candidates, unless all are accepted.
    assert chosen not in probabilities or chosen == probabilities.min()


def test_a_calibration_says_how_good_it_is() -> None:
    fit = fit_calibration("IsA", candidates(true=40, others=160, gap=2.0))
    calibration = fit.calibration
    assert calibration is not None
    assert fit.reason is None
    assert (calibration.subjects, calibration.candidates, calibration.facts) == (20, 200, 45)
    log_probs = candidates(true=40, others=160, gap=2.0).log_probs
    accepted = np.array([calibration.likely(value) for value in log_probs])
    found = accepted[:40].sum()
    assert calibration.precision == pytest.approx(found / accepted.sum())
    assert calibration.recall == pytest.approx(found / 45)
    assert calibration.f1 == pytest.approx(2 * found / (accepted.sum() + 45))
    squares = [
        (calibration.probability(value) - (index < 40)) ** 2
        for index, value in enumerate(log_probs)
    ]
    assert calibration.brier == pytest.approx(np.mean(squares))
    assert calibration.expected_calibration_error < 0.05


@pytest.mark.parametrize(("true", "others"), [(LEAST_OF_EACH - 1, 200), (0, 0), (50, 9)])
def test_too_few_of_either_kind_give_none(true: int, others: int) -> None:
    fit = fit_calibration("IsA", candidates(true, others))
    assert fit.calibration is None
    assert fit.reason is not None
    assert f"{true} of {true + others} candidates are known to be true" in fit.reason
    assert fit_calibration("IsA", candidates(LEAST_OF_EACH, LEAST_OF_EACH)).calibration is not None


def test_a_ranking_that_says_nothing_gives_none() -> None:
    fit = fit_calibration("IsA", candidates(true=60, others=60, gap=-2.0))
    assert fit.calibration is None
    assert fit.reason == "objects of a higher log-probability are not more often true"
