"""Whether a mask is worth having, in a sentence with its confidence."""

from collections.abc import Sequence
from dataclasses import dataclass

from training.evaluation.bootstrap import Interval
from training.evaluation.results import Evaluation
from training.evaluation.summary import compare

# What is judged, and what it may be held against, in this order.
JUDGED = "masked"
AGAINST = (
    "unmasked",
    "frequency prior",
    "fine-tuning",
    "LoRA, rank 8",
    "nearest words",
    "nearest facts",
)
# With fewer test facts an interval says little, whatever it is.
LEAST_FACTS = 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """The masks of one relation, or of all, beside another system on the same test facts.

    Attributes:
        relation: None for the mean over all relations.
        against: the other system.
        difference: of the mean reciprocal ranks, the masks' less the other's, paired by fact.
        facts: test facts.
    """

    relation: str | None
    against: str
    difference: Interval
    facts: int

    @property
    def word(self) -> str:
        """`better`, `worse`, `not shown to differ` or `too few facts to tell`."""
        if self.facts < LEAST_FACTS:
            return "too few facts to tell"
        if self.difference.low > 0:
            return "better"
        return "worse" if self.difference.high < 0 else "not shown to differ"

    @property
    def sentence(self) -> str:
        """The verdict with its figures, for a reader who sees nothing else."""
        what = "The masks are" if self.relation is None else f"The mask of {self.relation} is"
        difference = self.difference
        figures = (
            f"MRR {difference.estimate:+.3f}, {difference.level:.0%} interval "
            f"{difference.low:+.3f} to {difference.high:+.3f}, {self.facts} test facts"
        )
        if self.word == "too few facts to tell":
            return f"{what} beside {self.against}: too few test facts to tell ({figures})."
        if self.word == "not shown to differ":
            return f"{what} not shown to be better or worse than {self.against} ({figures})."
        return f"{what} {self.word} than {self.against} ({figures})."


def verdicts(evaluation: Evaluation, *, each: bool = True) -> list[Verdict]:
    """Judge the masks against every system of `AGAINST` that was evaluated on their relations.

    The mean over relations comes first; with `each`, every relation after it. None where there are
    no masks, or nothing to hold them against.
    """
    if JUDGED not in evaluation.systems:
        return []
    judged = evaluation.of_system(JUDGED)
    found = []
    for against in AGAINST:
        if against not in evaluation.systems:
            continue
        other = evaluation.of_system(against)
        if other.keys() == judged.keys():
            facts = sum(len(result.facts) for result in judged.values())
            found.append(Verdict(None, against, compare(evaluation, JUDGED, against), facts))
        for relation in sorted(judged.keys() & other.keys()) if each else ():
            difference = compare(evaluation, JUDGED, against, relation=relation)
            found.append(Verdict(relation, against, difference, len(judged[relation].facts)))
    return found


def relation_sentences(found: Sequence[Verdict]) -> list[str]:
    """One sentence for each relation: its mask beside every system that it was held against."""
    of_relation: dict[str, list[Verdict]] = {}
    for verdict in found:
        if verdict.relation is not None:
            of_relation.setdefault(verdict.relation, []).append(verdict)
    return [f"{relation}: {_judgement(of_relation[relation])}." for relation in sorted(of_relation)]


def _judgement(judged: Sequence[Verdict]) -> str:
    facts = judged[0].facts
    if facts < LEAST_FACTS:
        seen = ", ".join(f"{one.difference.estimate:+.3f} beside {one.against}" for one in judged)
        return (
            f"too few test facts ({facts}) to tell whether the mask is worth having; {LEAST_FACTS} "
            f"are the least (MRR {seen})"
        )
    parts = [f"{_than(one)} (MRR {_figures(one.difference)})" for one in judged]
    return f"{'; '.join(parts)}; {facts:,} test facts"


def _than(verdict: Verdict) -> str:
    word = verdict.word if verdict.word in ("better", "worse") else "not shown to be better"
    # "the unmasked model", and the others by their names in the tables.
    against = "unmasked model" if verdict.against == "unmasked" else verdict.against
    return f"{word} than the {against}"


def _figures(difference: Interval) -> str:
    return (
        f"{difference.estimate:+.3f}, {difference.level:.0%} interval "
        f"{difference.low:+.3f} to {difference.high:+.3f}"
    )


def verdict_rows(found: Sequence[Verdict]) -> list[list[str]]:
    """One line of a table for each: relation, against, facts, difference, verdict."""
    return [
        [
            one.relation or "mean over relations",
            one.against,
            f"{one.facts:,}",
            f"{one.difference.estimate:+.3f} "
            f"[{one.difference.low:+.3f}, {one.difference.high:+.3f}]",
            one.word,
        ]
        for one in found
    ]
