"""Probabilities held against the truth."""

import json

import numpy as np
import pytest

from training.data import DataError
from training.evaluation import Bin, Reliability, measure_reliability


def measured(**changes: object) -> Reliability:
    fields: dict[str, object] = {
        "relation": "IsA",
        "threshold": 0.5,
        "subjects": 2,
        "facts": 4,
        "accepted": 3,
        "found": 2,
        "brier": 0.1,
        "bins": (Bin(4, 0.1, 0.25), Bin(4, 0.6, 0.5)),
    }
    return Reliability(**(fields | changes))  # type: ignore[arg-type]


def test_figures_follow_from_the_counts() -> None:
    reliability = measured()
    assert reliability.candidates == 8
    assert reliability.base_rate == pytest.approx(3 / 8)
    assert reliability.precision == pytest.approx(2 / 3)
    assert reliability.recall == pytest.approx(2 / 4)
    assert reliability.f1 == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))
    assert reliability.expected_calibration_error == pytest.approx((0.15 + 0.1) / 2)


def test_nothing_accepted_has_no_precision() -> None:
    reliability = measured(accepted=0, found=0)
    assert (reliability.precision, reliability.recall, reliability.f1) == (None, 0.0, 0.0)
    assert measured(facts=0, found=0).recall is None


def test_candidates_are_counted_and_binned_by_rising_probability() -> None:
    probabilities = np.array([0.9, 0.1, 0.5, 0.3, 0.2])
    true = np.array([True, False, False, True, False])
    reliability = measure_reliability(
        "IsA", probabilities, true, threshold=0.5, subjects=1, facts=3, bins=2
    )
    assert (reliability.accepted, reliability.found) == (2, 1)
    low, high = reliability.bins
    assert (low.count, low.predicted, low.true) == pytest.approx((3, 0.2, 1 / 3))
    assert (high.count, high.predicted, high.true) == pytest.approx((2, 0.7, 0.5))
    assert reliability.brier == pytest.approx((0.01 + 0.01 + 0.25 + 0.49 + 0.04) / 5)


def test_true_probabilities_have_a_small_error_and_false_ones_a_large_one() -> None:
    random = np.random.default_rng(0)
    probabilities = random.beta(1, 10, 20_000)
    true = random.random(20_000) < probabilities

    def error(claimed: np.ndarray) -> float:
        reliability = measure_reliability(
            "IsA", claimed, true, threshold=0.5, subjects=1000, facts=int(true.sum())
        )
        return reliability.expected_calibration_error

    assert error(probabilities) < 0.01
    assert error(np.minimum(1, probabilities + 0.2)) == pytest.approx(0.2, abs=0.01)
    assert error(np.full(20_000, 1.0)) == pytest.approx(1 - true.mean())


def test_fewer_candidates_than_bins_fill_a_bin_each() -> None:
    reliability = measure_reliability(
        "IsA", np.array([0.5]), np.array([True]), threshold=0.6, subjects=1, facts=1
    )
    assert reliability.bins == (Bin(1, 0.5, 1.0),)


def test_what_cannot_be_is_refused() -> None:
    nothing = np.empty(0)
    with pytest.raises(ValueError, match="needs bins that hold candidates"):
        measure_reliability("IsA", nothing, nothing > 0, threshold=0.5, subjects=0, facts=0)
    with pytest.raises(ValueError, match="two vectors of one length"):
        measure_reliability(
            "IsA", np.ones(2), np.ones(3, dtype=bool), threshold=0.5, subjects=1, facts=3
        )
    for changes in ({"found": 4}, {"accepted": 9}, {"found": -1}, {"facts": 1}):
        with pytest.raises(ValueError, match="do not go together"):
            measured(**changes)


def test_records_come_back() -> None:
    record = json.loads(json.dumps(measured().to_record()))
    assert Reliability.from_record(record) == measured()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"relation": 1}, "'relation' must be of type str"),
        ({"threshold": "0.5"}, "'threshold' must be of type float"),
        ({"facts": True}, "'facts' must be of type int"),
        ({"bins": {}}, "'bins' must be a list"),
        ({"bins": [{"count": 1, "predicted": 0.5}]}, "'true' is missing"),
    ],
)
def test_bad_records_are_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(DataError, match=told):
        Reliability.from_record(measured().to_record() | changes)
