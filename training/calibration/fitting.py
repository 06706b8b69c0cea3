"""The sigmoid of a calibration and its threshold, from candidates known to be true or not."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masks import Calibration
from training.calibration.candidates import Candidates
from training.evaluation import measure_reliability

# Fewer decide nothing: the slope would be the prior's.
LEAST_OF_EACH = 10

# A weak prior, N(1, 1) on the slope and N(0, 10^2) on the intercept. A slope of 1 says that the
# odds of being true rise in proportion to the model's own probability.
_PRIOR_MEAN = np.array([1.0, 0.0])
_PRIOR_PRECISION = np.array([1.0, 0.01])
_MOST_STEPS = 100
_TOLERANCE = 1e-10

_Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """A calibration, or the reason why there is none."""

    calibration: Calibration | None
    reason: str | None = None


def fit_calibration(relation: str, candidates: Candidates) -> Fit:
    """Fit a relation's sigmoid and take the threshold of the best F1, both on the candidates.

    There is no calibration with fewer than `LEAST_OF_EACH` true candidates or as few others, nor
    where a higher log-probability does not make an object more often true.
    """
    count, true = len(candidates.true), int(candidates.true.sum())
    if min(true, count - true) < LEAST_OF_EACH:
        return Fit(
            None,
            f"{true} of {count:,} candidates are known to be true; {LEAST_OF_EACH} true and "
            f"{LEAST_OF_EACH} others are the least",
        )
    slope, intercept = fit_sigmoid(candidates.log_probs, candidates.true)
    if slope <= 0:
        return Fit(None, "objects of a higher log-probability are not more often true")
    probabilities = _sigmoid(slope * candidates.log_probs + intercept)
    on_validation = measure_reliability(
        relation,
        probabilities,
        candidates.true,
        threshold=best_threshold(probabilities, candidates.true, candidates.facts),
        subjects=candidates.subjects,
        facts=candidates.facts,
    )
    return Fit(
        Calibration(
            slope=slope,
            intercept=intercept,
            threshold=on_validation.threshold,
            subjects=candidates.subjects,
            candidates=count,
            facts=candidates.facts,
            precision=on_validation.precision or 0.0,
            recall=on_validation.recall or 0.0,
            f1=on_validation.f1,
            expected_calibration_error=on_validation.expected_calibration_error,
            brier=on_validation.brier,
        )
    )


def fit_sigmoid(values: _Vector, true: NDArray[np.bool_]) -> tuple[float, float]:
    """Return slope and intercept of `P(true) = sigmoid(slope * value + intercept)`.

    Penalised maximum likelihood by Newton's method with step halving; the targets are smoothed as
    by Platt (1999, "Probabilistic outputs for support vector machines"), and a weak prior holds
    the slope, so that few or separable (N,) values give finite numbers too.
    """
    positives = int(true.sum())
    negatives = len(true) - positives
    targets = np.where(true, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    design = np.stack([values, np.ones_like(values)], axis=1)
    weights = _PRIOR_MEAN.copy()
    loss = _loss(weights, design, targets)
    for _ in range(_MOST_STEPS):
        probabilities = _sigmoid(design @ weights)
        gradient = design.T @ (probabilities - targets) + _PRIOR_PRECISION * (weights - _PRIOR_MEAN)
        spread = probabilities * (1 - probabilities)
        curvature = design.T @ (spread[:, None] * design) + np.diag(_PRIOR_PRECISION)
        step = np.linalg.solve(curvature, gradient)
        while (smaller := _loss(weights - step, design, targets)) > loss:
            step = step / 2
            if np.abs(step).max() < _TOLERANCE:
                return float(weights[0]), float(weights[1])
        weights, loss = weights - step, smaller
        if np.abs(step).max() < _TOLERANCE:
            break
    return float(weights[0]), float(weights[1])


def best_threshold(probabilities: _Vector, true: NDArray[np.bool_], facts: int) -> float:
    """Return the probability from which accepting (N,) candidates gives the best F1.

    Recall is of all `facts`, candidates or not. Of equal ones the highest; half-way between the
    last that is accepted and the first that is not, so that rounding moves neither across.
    """
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order]
    found = true[order].cumsum()
    f1 = 2 * found / (np.arange(1, len(ranked) + 1) + facts)
    # Candidates of the same probability are accepted together.
    f1[:-1][ranked[:-1] == ranked[1:]] = -1.0
    last = int(f1.argmax())
    if last + 1 == len(ranked):
        return float(ranked[last])
    return float(ranked[last] + ranked[last + 1]) / 2


def _loss(weights: _Vector, design: _Vector, targets: _Vector) -> float:
    logits = design @ weights
    penalty = _PRIOR_PRECISION @ (weights - _PRIOR_MEAN) ** 2 / 2
    return float(np.sum(np.logaddexp(0, logits) - targets * logits) + penalty)


def _sigmoid(logits: _Vector) -> _Vector:
    # As exp(-log(1 + exp(-x))), which does not overflow.
    return np.asarray(np.exp(-np.logaddexp(0, -logits)), dtype=np.float64)
