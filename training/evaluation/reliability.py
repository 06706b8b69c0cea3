"""How well probabilities of being true hold: the share of true objects where they are claimed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from training.evaluation.json_fields import field, list_of

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Candidates of similar probability: how many, their mean probability, the share true."""

    count: int
    predicted: float
    true: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """A relation's probabilities held against facts.

    Attributes:
        relation: name of the relation.
        threshold: the probability from which a candidate is accepted as likely true.
        subjects: how many subjects the candidates are of.
        facts: how many true objects these subjects have, candidates or not.
        accepted: candidates from the threshold.
        found: the true ones of them.
        brier: mean squared distance of probability and truth.
        bins: the candidates by rising probability, in bins of equal size (to within one).

    Raises:
        ValueError: no candidates, or counts that cannot be.
    """

    relation: str
    threshold: float
    subjects: int
    facts: int
    accepted: int
    found: int
    brier: float
    bins: tuple[Bin, ...]

    def __post_init__(self) -> None:
        if not self.bins or any(part.count < 1 for part in self.bins):
            raise ValueError(f"reliability on {self.relation} needs bins that hold candidates")
        if not (
            0 <= self.found <= min(self.accepted, self.facts) and self.accepted <= self.candidates
        ):
            raise ValueError(
                f"{self.found} found, {self.accepted} accepted, {self.facts} facts and "
                f"{self.candidates} candidates of {self.relation} do not go together"
            )

    @property
    def candidates(self) -> int:
        """How many candidates there are."""
        return sum(part.count for part in self.bins)

    @property
    def base_rate(self) -> float:
        """Share of true ones among the candidates."""
        return sum(part.count * part.true for part in self.bins) / self.candidates

    @property
    def precision(self) -> float | None:
        """Share of true ones among the accepted; None if nothing was accepted."""
        return self.found / self.accepted if self.accepted else None

    @property
    def recall(self) -> float | None:
        """Share of the facts that was accepted; None if there are no facts."""
        return self.found / self.facts if self.facts else None

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 if nothing was found."""
        return 2 * self.found / (self.accepted + self.facts) if self.found else 0.0

    @property
    def expected_calibration_error(self) -> float:
        """Mean distance of probability and share of true ones over the bins.

        Of bins of equal size (Nguyen & O'Connor 2015, "Posterior calibration and exploratory
        analysis for natural language processing models"): with bins of equal width nearly all
        candidates would be in the lowest.
        """
        distances = (part.count * abs(part.predicted - part.true) for part in self.bins)
        return sum(distances) / self.candidates

    def to_record(self) -> dict[str, object]:
        """Return the fields as JSON has them."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, object]) -> "Reliability":
        """Return what `to_record` wrote.

        Raises:
            DataError: a field is missing or of another type.
            ValueError: see the class.
        """
        return cls(
            relation=field(record, "relation", str),
            threshold=field(record, "threshold", float),
            subjects=field(record, "subjects", int),
            facts=field(record, "facts", int),
            accepted=field(record, "accepted", int),
            found=field(record, "found", int),
            brier=field(record, "brier", float),
            bins=tuple(map(_bin_of, list_of(record.get("bins"), dict, "bins"))),
        )


def measure_reliability(
    relation: str,
    probabilities: npt.NDArray[np.float64],
    true: npt.NDArray[np.bool_],
    *,
    threshold: float,
    subjects: int,
    facts: int,
    bins: int = BINS,
) -> Reliability:
    """Hold (N,) probabilities of candidates against (N,) whether each is true.

    Raises:
        ValueError: no candidates, arrays of different shapes, or counts that cannot be.
    """
    if probabilities.ndim != 1 or probabilities.shape != true.shape:
        raise ValueError(
            f"probabilities and truth must be two vectors of one length: {probabilities.shape}, "
            f"{true.shape}"
        )
    accepted = probabilities >= threshold
    order = np.argsort(probabilities, kind="stable")
    return Reliability(
        relation=relation,
        threshold=threshold,
        subjects=subjects,
        facts=facts,
        accepted=int(accepted.sum()),
        found=int((accepted & true).sum()),
        brier=float(np.mean((probabilities - true) ** 2)) if len(true) else 0.0,
        bins=tuple(
            Bin(len(part), float(probabilities[part].mean()), float(true[part].mean()))
            for part in np.array_split(order, bins)
            if len(part)
        ),
    )


def _bin_of(record: Mapping[str, object]) -> Bin:
    return Bin(
        count=field(record, "count", int),
        predicted=field(record, "predicted", float),
        true=field(record, "true", float),
    )
