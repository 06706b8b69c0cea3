"""The ranks of several systems on the same facts, and their JSON form."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.data.errors import DataError
from training.data.triples import Triple
from training.evaluation.json_fields import field, list_of
from training.evaluation.metrics import KS, Values, fact_values
from training.evaluation.provenance import Provenance
from training.evaluation.ranks import Ranks
from training.evaluation.reliability import Reliability

FORMAT = "relata-evaluation/1"


@dataclass(frozen=True, slots=True)
class RelationResult:
    """The ranks of one system (`masked`, `unmasked`, a control ...) on a relation's facts.

    `ranks` are in the order of `facts`.

    Raises:
        ValueError: no facts, ranks that are not one for each, or a fact of another relation.
    """

    relation: str
    system: str
    facts: tuple[Triple, ...]
    ranks: Ranks

    def __post_init__(self) -> None:
        where = f"{self.system} on {self.relation}"
        if not self.facts or len(self.facts) != len(self.ranks):
            raise ValueError(f"{where}: {len(self.facts)} facts and {len(self.ranks)} ranks")
        if any(fact.relation != self.relation for fact in self.facts):
            raise ValueError(f"{where}: a fact is of another relation")

    def values(self, ks: Sequence[int] = KS) -> dict[str, Values]:
        """Return each metric's (N,) values, one for each fact."""
        return fact_values(self.ranks, ks)

    def metrics(self, ks: Sequence[int] = KS) -> dict[str, float]:
        """Return each metric's mean over the facts."""
        return {name: float(values.mean()) for name, values in self.values(ks).items()}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Results of systems by relations, and how well the probabilities of calibrated masks hold.

    Raises:
        ValueError: no results, one given twice, systems that saw different facts of a relation
            (their numbers must not stand in one table), or a calibration of a relation that is
            there twice or has no results.
    """

    results: tuple[RelationResult, ...]
    provenance: Provenance
    calibration: tuple[Reliability, ...] = ()

    def __post_init__(self) -> None:
        if not self.results:
            raise ValueError("an evaluation needs at least one result")
        seen: set[tuple[str, str]] = set()
        first_on: dict[str, RelationResult] = {}
        for result in self.results:
            if (result.system, result.relation) in seen:
                raise ValueError(f"{result.system} on {result.relation} is there twice")
            seen.add((result.system, result.relation))
            first = first_on.setdefault(result.relation, result)
            if first.facts != result.facts:
                raise ValueError(
                    f"{first.system} and {result.system} saw different facts of {result.relation}"
                )
        calibrated = [part.relation for part in self.calibration]
        for relation in calibrated:
            if calibrated.count(relation) > 1 or relation not in first_on:
                raise ValueError(
                    f"the calibration of {relation} is there twice, or it has no results"
                )

    @property
    def systems(self) -> tuple[str, ...]:
        """The systems, in the order of the results."""
        return tuple(dict.fromkeys(result.system for result in self.results))

    @property
    def relations(self) -> tuple[str, ...]:
        """The relations, sorted."""
        return tuple(sorted({result.relation for result in self.results}))

    def of_system(self, system: str) -> dict[str, RelationResult]:
        """Return a system's results by relation, sorted.

        Raises:
            ValueError: no such system.
        """
        found = {result.relation: result for result in self.results if result.system == system}
        if not found:
            raise ValueError(f"no system {system!r}; there are: {', '.join(self.systems)}")
        return dict(sorted(found.items()))

    def to_json(self) -> str:
        """Return the evaluation as JSON text.

        The facts of a relation are written once. The metrics are there for the reader's eye:
        `from_json` takes the ranks alone.
        """
        facts = {result.relation: _fact_pairs(result) for result in self.results}
        content = {
            "format": FORMAT,
            "provenance": self.provenance.to_record(),
            "facts": facts,
            "results": [
                {
                    "system": result.system,
                    "relation": result.relation,
                    "metrics": result.metrics(),
                    "optimistic_ranks": result.ranks.optimistic.tolist(),
                    "pessimistic_ranks": result.ranks.pessimistic.tolist(),
                }
                for result in self.results
            ],
            "calibration": [part.to_record() for part in self.calibration],
        }
        return json.dumps(content, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Evaluation":
        """Return the evaluation that `to_json` wrote, now or before there were calibrations.

        Raises:
            DataError: not such a text; it says what is wrong where.
        """
        try:
            content: object = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(f"an evaluation must be JSON: {error}") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise DataError(f"not an evaluation of the format {FORMAT!r}")
        facts = {
            relation: _facts_of(relation, pairs)
            for relation, pairs in field(content, "facts", dict).items()
        }
        results = tuple(
            _result_of(record, facts) for record in list_of(content.get("results"), dict, "results")
        )
        provenance = Provenance.from_record(field(content, "provenance", dict))
        calibration = list_of(content.get("calibration", []), dict, "calibration")
        try:
            return cls(results, provenance, tuple(map(Reliability.from_record, calibration)))
        except ValueError as error:
            raise DataError(str(error)) from error


def _fact_pairs(result: RelationResult) -> list[list[str]]:
    return [[fact.subject, fact.object] for fact in result.facts]


def _facts_of(relation: str, pairs: object) -> tuple[Triple, ...]:
    facts = []
    for pair in list_of(pairs, list, f"facts of {relation}"):
        words = list_of(pair, str, f"facts of {relation}")
        if len(words) != 2:
            raise DataError(f"a fact of {relation} must be a subject and an object, not {words}")
        facts.append(Triple(words[0], relation, words[1]))
    return tuple(facts)


def _result_of(
    record: Mapping[str, object], facts: Mapping[str, tuple[Triple, ...]]
) -> RelationResult:
    relation = field(record, "relation", str)
    if relation not in facts:
        raise DataError(f"there are no facts of {relation}")
    try:
        ranks = Ranks(
            *(
                _ranks_of(record.get(name), name)
                for name in ("optimistic_ranks", "pessimistic_ranks")
            )
        )
        return RelationResult(relation, field(record, "system", str), facts[relation], ranks)
    except ValueError as error:
        raise DataError(f"results on {relation}: {error}") from error


def _ranks_of(value: object, name: str) -> npt.NDArray[np.int64]:
    """(N,) of a list of ranks, or (K, N) of a list of such lists."""
    if isinstance(value, list) and value and isinstance(value[0], list):
        trials = [list_of(trial, int, name) for trial in value]
        return np.array(trials, dtype=np.int64)
    return np.array(list_of(value, int, name), dtype=np.int64)
