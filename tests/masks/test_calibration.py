"""A calibration: its sigmoid, its threshold, its rules."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masks import Calibration, MaskValueError

MakeCalibration = Callable[..., Calibration]
numbers = st.floats(allow_nan=False, allow_infinity=False)


def test_probabilities_are_those_of_the_sigmoid(make_calibration: MakeCalibration) -> None:
    calibration = make_calibration(slope=2.0, intercept=1.0)
    assert calibration.probability(-0.5) == 0.5
    assert calibration.probability(-2.0) == pytest.approx(1 / (1 + math.e**3))
    assert calibration.probability(0.0) == pytest.approx(math.e / (1 + math.e))
    assert calibration.probability(-math.inf) == 0.0


def test_likely_begins_at_the_threshold(make_calibration: MakeCalibration) -> None:
    calibration = make_calibration(slope=2.0, intercept=1.0, threshold=0.5)
    assert calibration.likely(-0.5)
    assert not calibration.likely(-0.500001)


@given(slope=st.floats(1e-300, 1e300), intercept=numbers, first=numbers, second=numbers)
def test_probabilities_stay_in_range_and_in_order(
    make_calibration: MakeCalibration,
    slope: float,
    intercept: float,
    first: float,
    second: float,
) -> None:
    calibration = make_calibration(slope=slope, intercept=intercept)
    low, high = sorted((first, second))
    assert 0 <= calibration.probability(low) <= calibration.probability(high) <= 1


def test_nan_has_no_probability(make_calibration: MakeCalibration) -> None:
    with pytest.raises(MaskValueError, match="not NaN"):
        make_calibration().probability(math.nan)
    with pytest.raises(MaskValueError, match="not NaN"):
        make_calibration().likely(math.nan)


def test_records_come_back(make_calibration: MakeCalibration) -> None:
    calibration = make_calibration()
    assert Calibration.from_record(calibration.to_record()) == calibration
    # JSON does not tell 1 from 1.0.
    assert Calibration.from_record(calibration.to_record() | {"slope": 1}).slope == 1.0


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"slope": 0}, "slope of the calibration must be above 0, not 0"),
        ({"slope": -1.0}, "slope of the calibration must be above 0"),
        ({"slope": math.inf}, "slope of the calibration must be a finite number"),
        ({"slope": True}, "slope"),
        ({"intercept": math.nan}, "intercept of the calibration"),
        ({"intercept": "1"}, "intercept"),
        ({"threshold": 1.01}, "threshold of the calibration must be from 0 to 1"),
        ({"threshold": -0.1}, "threshold"),
        ({"precision": 2}, "precision"),
        ({"recall": math.nan}, "recall"),
        ({"f1": None}, "f1"),
        ({"expected_calibration_error": -1}, "expected_calibration_error"),
        ({"brier": 1.5}, "brier"),
        ({"subjects": 0}, "subjects of the calibration must be an integer of at least 1"),
        ({"candidates": 2.0}, "candidates"),
        ({"facts": False}, "facts"),
    ],
)
def test_every_field_is_checked(
    make_calibration: MakeCalibration, fields: dict[str, object], match: str
) -> None:
    with pytest.raises(MaskValueError, match=match):
        make_calibration(**fields)
