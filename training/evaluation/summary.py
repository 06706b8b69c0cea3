"""Means of an evaluation with their intervals, and comparisons of two of its systems."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.evaluation.bootstrap import (
    RESAMPLES,
    Interval,
    Statistic,
    mean_interval,
    paired_interval,
)
from training.evaluation.metrics import KS, MRR, Average, Values
from training.evaluation.results import Evaluation, RelationResult

# Intervals of one evaluation are the same whenever they are made again.
BOOTSTRAP_SEED = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: which relations, how many facts, each metric with its interval."""

    system: str
    relations: tuple[str, ...]
    facts: int
    intervals: Mapping[str, Interval]


def summarise(
    evaluation: Evaluation,
    average: Average = "per_relation",
    *,
    ks: Sequence[int] = KS,
    resamples: int = RESAMPLES,
    seed: int = BOOTSTRAP_SEED,
) -> list[Row]:
    """Return for each system its means over all its relations."""
    return [
        _row(list(evaluation.of_system(system).values()), average, ks, resamples, seed)
        for system in evaluation.systems
    ]


def by_relation(
    evaluation: Evaluation,
    *,
    ks: Sequence[int] = KS,
    resamples: int = RESAMPLES,
    seed: int = BOOTSTRAP_SEED,
) -> list[Row]:
    """Return for each relation (sorted) and system its means over the relation's facts."""
    return [
        _row([result], "per_fact", ks, resamples, seed)
        for relation in evaluation.relations
        for result in evaluation.results
        if result.relation == relation
    ]


def compare(
    evaluation: Evaluation,
    first: str,
    second: str,
    *,
    metric: str = MRR,
    statistic: Statistic = "difference",
    average: Average = "per_relation",
    relation: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = BOOTSTRAP_SEED,
) -> Interval:
    """Return `first - second` or `first / second` over the same resampled facts.

    `metric` is `mrr` or `hits@k` for any k. With a `relation` only its facts count.

    Raises:
        ValueError: an unknown system, metric or relation, systems on different relations, or a
            ratio to a mean of zero.
    """
    one, two = evaluation.of_system(first), evaluation.of_system(second)
    if relation is not None:
        if relation not in one or relation not in two:
            raise ValueError(f"{first} and {second} were not both evaluated on {relation!r}")
        one, two = {relation: one[relation]}, {relation: two[relation]}
    elif one.keys() != two.keys():
        odd = ", ".join(sorted(one.keys() ^ two.keys()))
        raise ValueError(f"only one of {first} and {second} was evaluated on {odd}")
    return paired_interval(
        [_values(result, metric) for result in one.values()],
        [_values(result, metric) for result in two.values()],
        seed=seed,
        statistic=statistic,
        average=average,
        resamples=resamples,
    )


def _row(
    results: Sequence[RelationResult],
    average: Average,
    ks: Sequence[int],
    resamples: int,
    seed: int,
) -> Row:
    values = [result.values(ks) for result in results]
    return Row(
        system=results[0].system,
        relations=tuple(result.relation for result in results),
        facts=sum(len(result.facts) for result in results),
        intervals={
            metric: mean_interval(
                [groups[metric] for groups in values],
                seed=seed,
                average=average,
                resamples=resamples,
            )
            for metric in values[0]
        },
    )


def _values(result: RelationResult, metric: str) -> Values:
    if metric == MRR:
        return result.values([])[MRR]
    name, _, k = metric.partition("@")
    if name != "hits" or not (k.isascii() and k.isdigit()):
        raise ValueError(f"unknown metric {metric!r}; known: {MRR}, hits@1, hits@2, ...")
    return result.values([int(k)])[f"hits@{int(k)}"]
