"""From the log-probability of an object to the probability that it is true."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Self

from masks.errors import MaskValueError
from masks.rules import check_fraction, check_integer, check_mapping, check_number

_FRACTIONS = (
    "threshold",
    "precision",
    "recall",
    "f1",
    "expected_calibration_error",
    "brier",
)
_COUNTS = ("subjects", "candidates", "facts")


@dataclass(frozen=True)
class Calibration:
    """A sigmoid fitted on validation facts (Platt 1999), and how good it was on them.

    `P(true) = sigmoid(slope * x + intercept)`. x is the natural logarithm of the object's
    probability at the mask position, over the whole vocabulary, under the relation's mask and its
    first template; for an object of several tokens the mean over its tokens. It was fitted on
    objects that training did not show for the subject: an object that it did show is true.

    Attributes:
        slope: above 0, so that probabilities rank as log-probabilities do.
        intercept: see above.
        threshold: the probability from which an object counts as likely true: the best F1.
        subjects: how many subjects of validation facts it was fitted on.
        candidates: how many objects, the first few of each subject's ranking.
        facts: how many true objects the subjects have, candidates or not.
        precision: share of true ones among the candidates from the threshold.
        recall: share of the facts that are candidates from the threshold.
        f1: harmonic mean of the two.
        expected_calibration_error: mean distance of probability and share of true ones, over bins
            of equally many candidates.
        brier: mean squared distance of probability and truth.

    Raises:
        MaskValueError: a field breaks its rule; the message names the field.
    """

    slope: float
    intercept: float
    threshold: float
    subjects: int
    candidates: int
    facts: int
    precision: float
    recall: float
    f1: float
    expected_calibration_error: float
    brier: float

    def __post_init__(self) -> None:
        for name in ("slope", "intercept"):
            object.__setattr__(self, name, check_number(_named(name), getattr(self, name)))
        if self.slope <= 0:
            raise MaskValueError(f"{_named('slope')} must be above 0, not {self.slope}")
        for name in _FRACTIONS:
            object.__setattr__(self, name, check_fraction(_named(name), getattr(self, name)))
        for name in _COUNTS:
            check_integer(_named(name), getattr(self, name), 1)

    def probability(self, log_prob: float) -> float:
        """Probability, 0 to 1, that an object of this log-probability is true.

        Minus infinity gives 0.

        Raises:
            MaskValueError: NaN.
        """
        if math.isnan(log_prob):
            raise MaskValueError("a log-probability must be a number, not NaN")
        return _sigmoid(self.slope * log_prob + self.intercept)

    def likely(self, log_prob: float) -> bool:
        """Whether an object of this log-probability reaches the threshold; raises as above."""
        return self.probability(log_prob) >= self.threshold

    def to_record(self) -> dict[str, float | int]:
        """The fields as JSON has them."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: object) -> Self:
        """The calibration that `to_record` wrote.

        Raises:
            MaskValueError: no mapping, a field missing or unknown, or one that breaks its rule.
        """
        values = check_mapping("calibration", record)
        _check_fields(values)
        return cls(**values)  # type: ignore[arg-type]  # every field checks its own type


def _named(name: str) -> str:
    return f"{name} of the calibration"


def _check_fields(values: Mapping[str, object]) -> None:
    known = {field.name for field in fields(Calibration)}
    for name in sorted(known ^ values.keys()):
        raise MaskValueError(
            f"the calibration {'lacks' if name in known else 'holds the unknown'} {name!r}"
        )


def _sigmoid(value: float) -> float:
    # Two forms, so that exp never overflows.
    if value >= 0:
        return 1.0 / (1.0 + math.exp(-value))
    power = math.exp(value)
    return power / (1.0 + power)
