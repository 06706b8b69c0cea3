"""Everything about a user's facts that can be said without learning from them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from plm import BaseModel
from training.advice import findings
from training.advice.findings import Finding
from training.advice.ranking import RankedTemplate, rank_templates
from training.advice.templates import proposals_for, training_facts
from training.advice.vocabulary import objects_outside
from training.data import DataError, RelationTemplates, Split, Triple, split_by_fact
from training.data.triples import FactKey
from training.evaluation.verdict import LEAST_FACTS
from training.facts import FactFiles, Facts, usable_facts
from training.naming import unfit_names

Origin = Literal["given", "proposed"]

_LEAST_TO_SPLIT = 3


@dataclass(frozen=True)
class RelationSummary:
    """One relation of the data.

    Attributes:
        relation: its name.
        facts: distinct facts in the files.
        usable: those that a mask can be learned from or tested on.
        parts: how many of these go to train, validation and test; zeros with too few to split.
        objects: distinct objects among the usable facts.
        commonest: the object of most usable facts, and its share of them; None without facts.
        origin: whether its templates are the user's or the shipped ones, or proposed.
        ranked: its templates under the unmasked model, the best first; none without usable facts.
    """

    relation: str
    facts: int
    usable: int
    parts: tuple[int, int, int]
    objects: int
    commonest: tuple[str, float] | None
    origin: Origin
    ranked: tuple[RankedTemplate, ...] = field(repr=False)


@dataclass(frozen=True)
class Check:
    """What `check_facts` found.

    Attributes:
        files: what was read.
        base: name of the base that was asked.
        relations: each relation of the files, sorted.
        templates: of every relation with usable facts, proposed ones among them.
        findings: problems first.
    """

    files: FactFiles
    base: str
    relations: tuple[RelationSummary, ...]
    templates: Mapping[str, RelationTemplates]
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Whether there is no problem; notes there may be."""
        return not any(finding.problem for finding in self.findings)


def check_facts(
    base: BaseModel,
    files: FactFiles,
    templates: Mapping[str, RelationTemplates],
    *,
    seed: int = 0,
    most: int = 1,
) -> Check:
    """Look at facts as `relata train` would see them, with the split of `seed`.

    `most` is how many tokens an object may have. Relations that `templates` lacks get proposed
    ones.
    """
    proposals = proposals_for(base, files.triples, templates, seed=seed)
    known = {**templates, **{name: found.templates for name, found in proposals.items()}}
    facts = _usable(base, files, known, most)
    by_relation = _by_relation(files, facts)
    splits = _splits(by_relation, seed)
    summaries = tuple(
        _summary(
            relation,
            [triple for triple in files.triples if triple.relation == relation],
            usable,
            splits.get(relation),
            origin="given" if relation in templates else "proposed",
            ranked=proposals[relation].ranked
            if relation in proposals
            else _ranked(base, usable, known.get(relation), seed),
        )
        for relation, usable in by_relation.items()
    )
    return Check(
        files=files,
        base=base.name,
        relations=summaries,
        templates={name: known[name] for name, usable in by_relation.items() if usable},
        findings=findings_of(base, files, facts, seed=seed, most=most),
    )


def findings_of(
    base: BaseModel, files: FactFiles, facts: Facts, *, seed: int = 0, most: int = 1
) -> tuple[Finding, ...]:
    """What is worth knowing about the facts of `files`, of which `facts` are usable.

    Problems first. The split is that of `seed`; `most` is how many tokens an object may have.
    """
    by_relation = _by_relation(files, facts)
    splits = _splits(by_relation, seed)
    outside = objects_outside(base, files.triples, most=most)
    spelt_outside = {item.object for item in outside}
    found = [
        findings.unfit_relations(unfit_names(by_relation)),
        findings.bad_lines(files.bad_lines),
        findings.outside_vocabulary(outside, most),
        findings.unreadable_prompts(
            [item for item in facts.rejected if item.triple.object not in spelt_outside]
        ),
        findings.too_few(
            {name: len(usable) for name, usable in by_relation.items() if name not in splits},
            _LEAST_TO_SPLIT,
        ),
        findings.object_in_subject(facts.triples),
        findings.leaks(list(splits.values())),
        findings.near_duplicates(facts.triples),
        findings.two_relations(files.triples),
        findings.repeated(files.triples, files.repeated),
        findings.few_to_test(
            {
                name: len(split.test)
                for name, split in splits.items()
                if len(split.test) < LEAST_FACTS
            },
            LEAST_FACTS,
        ),
    ]
    there = [finding for finding in found if finding is not None]
    return tuple(sorted(there, key=lambda finding: not finding.problem))


def _by_relation(files: FactFiles, facts: Facts) -> dict[str, tuple[Triple, ...]]:
    """The distinct usable facts of every relation of the files, sorted by relation."""
    found: dict[str, dict[FactKey, Triple]] = {
        relation: {} for relation in sorted({triple.relation for triple in files.triples})
    }
    for fact in facts.triples:
        found[fact.relation].setdefault(fact.key, fact)
    return {relation: tuple(distinct.values()) for relation, distinct in found.items()}


def _splits(by_relation: Mapping[str, Sequence[Triple]], seed: int) -> dict[str, Split]:
    return {
        relation: split_by_fact(usable, seed=seed)
        for relation, usable in by_relation.items()
        if len(usable) >= _LEAST_TO_SPLIT
    }


def _usable(
    base: BaseModel, files: FactFiles, templates: Mapping[str, RelationTemplates], most: int
) -> Facts:
    """As `usable_facts`; where nothing is usable, that is what is found, and no error."""
    with_templates = [triple for triple in files.triples if triple.relation in templates]
    nothing = Facts(files.name, files.digest, (), (), files.bad_lines, files.summaries)
    if not with_templates:
        return nothing
    known = FactFiles(
        files.name,
        files.digest,
        tuple(with_templates),
        files.bad_lines,
        files.repeated,
        files.summaries,
    )
    try:
        return usable_facts(base, known, templates, most=most)
    except DataError:
        return nothing


def _summary(
    relation: str,
    triples: Sequence[Triple],
    usable: Sequence[Triple],
    split: Split | None,
    *,
    origin: Origin,
    ranked: tuple[RankedTemplate, ...],
) -> RelationSummary:
    objects = Counter(fact.object for fact in usable)
    commonest = None
    if objects:
        ((word, count),) = objects.most_common(1)
        commonest = word, count / len(usable)
    return RelationSummary(
        relation=relation,
        facts=len({triple.key for triple in triples}),
        usable=len(usable),
        parts=(0, 0, 0)
        if split is None
        else (len(split.train), len(split.validation), len(split.test)),
        objects=len(objects),
        commonest=commonest,
        origin=origin,
        ranked=ranked,
    )


def _ranked(
    base: BaseModel,
    usable: tuple[Triple, ...],
    templates: RelationTemplates | None,
    seed: int,
) -> tuple[RankedTemplate, ...]:
    if not usable or templates is None:
        return ()
    texts = dict.fromkeys((templates.evaluation, *templates.training))
    return rank_templates(base, training_facts(usable, seed=seed), list(texts))
