"""Templates for relations that have none: proposed, ranked, and kept in a file."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from plm import BaseModel, ObjectError, object_token_id
from training.advice.ranking import RankedTemplate, rank_templates
from training.advice.wordings import wordings_of
from training.data import (
    DataError,
    RelationTemplates,
    Triple,
    load_templates,
    split_by_fact,
)

# Beside the one for evaluation. The worst ones would teach what the relation is not.
TRAINING_TEMPLATES = 6
_LEAST_FACTS = 3


@dataclass(frozen=True)
class Proposal:
    """Sentences for a relation, and how the unmasked model does with each that was tried.

    Attributes:
        templates: the best for evaluation, the next ones for training.
        ranked: all that were tried, the best first.
    """

    templates: RelationTemplates
    ranked: tuple[RankedTemplate, ...]


def propose_templates(base: BaseModel, relation: str, facts: tuple[Triple, ...]) -> Proposal:
    """Templates made from the relation's name, ranked on its (training) facts.

    Raises:
        DataError: no fact makes a prompt.
        ObjectError: an object is not one token.
    """
    ranked = rank_templates(base, facts, wordings_of(relation))
    best, *others = (one.text for one in ranked)
    templates = RelationTemplates(relation, best, tuple(others[:TRAINING_TEMPLATES]))
    return Proposal(templates, ranked)


def proposals_for(
    base: BaseModel,
    triples: Iterable[Triple],
    templates: Mapping[str, RelationTemplates],
    *,
    seed: int,
) -> dict[str, Proposal]:
    """Proposals for those relations of `triples` that `templates` lacks.

    They are ranked on the facts that the split of `seed` trains on. A relation without a usable
    fact gets none.
    """
    found = {}
    for relation, facts in single_token_facts(base, triples).items():
        if relation not in templates and facts:
            found[relation] = propose_templates(base, relation, training_facts(facts, seed=seed))
    return found


def complete_templates(
    base: BaseModel,
    triples: Iterable[Triple],
    templates: Mapping[str, RelationTemplates],
    *,
    seed: int,
    kept: Path,
) -> tuple[dict[str, RelationTemplates], dict[str, Proposal]]:
    """`templates` and, for the relations of `triples` that it lacks, proposed ones.

    Those are written to `kept`, and taken from there when it exists: a run that goes on asks as it
    began. Also returned are the proposals that were made now.

    Raises:
        DataError: `kept` cannot be read or written.
    """
    before = load_templates(kept) if kept.exists() else {}
    known = {**before, **templates}
    proposals = proposals_for(base, triples, known, seed=seed)
    if proposals:
        made = {name: found.templates for name, found in proposals.items()}
        kept.parent.mkdir(parents=True, exist_ok=True)
        save_templates({**before, **made}.values(), kept)
        known |= made
    return known, proposals


def single_token_facts(base: BaseModel, triples: Iterable[Triple]) -> dict[str, tuple[Triple, ...]]:
    """The distinct facts of each relation whose objects are one token, in the order given."""
    known: dict[str, bool] = {}
    facts: dict[str, dict[tuple[str, str, str], Triple]] = {}
    for triple in triples:
        of_relation = facts.setdefault(triple.relation, {})
        if triple.object not in known:
            known[triple.object] = _is_one_token(base, triple.object)
        if known[triple.object]:
            of_relation.setdefault(triple.key, triple)
    return {relation: tuple(found.values()) for relation, found in facts.items()}


def training_facts(facts: tuple[Triple, ...], *, seed: int) -> tuple[Triple, ...]:
    """The facts of a relation that the split of `seed` trains on; all, if too few to split."""
    return facts if len(facts) < _LEAST_FACTS else split_by_fact(facts, seed=seed).train


def save_templates(templates: Iterable[RelationTemplates], path: Path) -> None:
    """Write a file that `load_templates` reads.

    Raises:
        DataError: the file cannot be written.
    """
    content = {
        one.relation: {"evaluation": one.evaluation, "training": list(one.training)}
        for one in templates
    }
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    unfinished = path.with_name(f"{path.name}.part")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror})") from error


def _is_one_token(base: BaseModel, word: str) -> bool:
    try:
        object_token_id(base, word)
    except ObjectError:
        return False
    return True
