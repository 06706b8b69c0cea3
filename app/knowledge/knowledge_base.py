"""The facts of one file, found by relation and by either end."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.errors import StartupError
from app.knowledge.fact_file import BadLine, Fact, FactFile, read_facts
from plm import fold_text

Role = Literal["subject", "object"]

Ids = NDArray[np.int64]

_SHOWN_REASONS = 3


@dataclass(frozen=True)
class RelationFacts:
    """How many distinct triples, subjects and objects a relation has."""

    relation: str
    triples: int
    subjects: int
    objects: int


@dataclass(frozen=True, eq=False)
class _Index:
    """Facts by relation and one end, T of them.

    Attributes:
        codes: (T,), ascending: relation times entities, plus the entity at that end.
        others: (T,), the entity at the other end.
    """

    codes: Ids
    others: Ids

    @classmethod
    def of(cls, relations: Ids, ends: Ids, others: Ids, entities: int) -> "_Index":
        codes = relations * entities + ends
        order = np.argsort(codes, kind="stable")
        return cls(codes[order], others[order])

    def others_of(self, code: int) -> Ids:
        """What stands at the other end of facts of this code, in the file's order."""
        start, stop = np.searchsorted(self.codes, [code, code + 1])
        return self.others[start:stop]

    def ends_of(self, relation: int, entities: int) -> Ids:
        """The distinct entities at this end of a relation's facts, ascending."""
        first = relation * entities
        start, stop = np.searchsorted(self.codes, [first, first + entities])
        return np.unique(self.codes[start:stop]) - first


@dataclass(frozen=True, eq=False, repr=False)
class KnowledgeBase:
    """The distinct facts of a file; spellings that fold to one text (`fold_text`) are one entity.

    Attributes:
        name: the file's name without its ending.
        file: the file's name.
        format: `tsv`, `csv` or `jsonl`.
        digest: `sha256:<hex>` of the file.
        entities: every subject and object, as first spelled, in the file's order.
        relations: each with its counts, in the file's order.
        triples: distinct facts.
        subjects: distinct ones.
        objects: distinct ones.
        duplicates: lines that repeat a fact.
        bad_lines: lines that are no fact.
    """

    name: str
    file: str
    format: str
    digest: str
    entities: tuple[str, ...]
    relations: tuple[RelationFacts, ...]
    triples: int
    subjects: int
    objects: int
    duplicates: int
    bad_lines: tuple[BadLine, ...]
    _entity_ids: dict[str, int]
    _relation_ids: dict[str, int]
    _by_end: dict[Role, _Index]

    @classmethod
    def load(cls, path: Path) -> "KnowledgeBase":
        """Read a file; `fact_file` says what it may look like.

        Raises:
            StartupError: it cannot be read, or holds no fact.
        """
        file = FactFile.open(path)
        entities, relations = _Names(), _Names()
        columns = (array("q"), array("q"), array("q"))
        bad: list[BadLine] = []
        for item in read_facts(file):
            if isinstance(item, BadLine):
                bad.append(item)
                continue
            _append(columns, item, entities.id_of, relations.id_of)
        if not columns[0]:
            raise StartupError(_nothing_usable(path, bad))
        read = [np.frombuffer(column, np.int64) for column in columns]
        subjects, predicates, objects = _distinct(read)
        count = len(entities.texts)
        by_end: dict[Role, _Index] = {
            "subject": _Index.of(predicates, subjects, objects, count),
            "object": _Index.of(predicates, objects, subjects, count),
        }
        facts = np.bincount(predicates, minlength=len(relations.texts))
        return cls(
            name=path.stem,
            file=path.name,
            format=file.format,
            digest=file.digest,
            entities=tuple(entities.texts),
            relations=tuple(
                RelationFacts(
                    relation,
                    int(facts[number]),
                    len(by_end["subject"].ends_of(number, count)),
                    len(by_end["object"].ends_of(number, count)),
                )
                for number, relation in enumerate(relations.texts)
            ),
            triples=len(predicates),
            subjects=len(np.unique(subjects)),
            objects=len(np.unique(objects)),
            duplicates=len(read[0]) - len(predicates),
            bad_lines=tuple(bad),
            _entity_ids=entities.ids,
            _relation_ids=relations.ids,
            _by_end=by_end,
        )

    def __contains__(self, relation: str) -> bool:
        """Whether it has facts of a relation."""
        return fold_text(relation) in self._relation_ids

    def entities_of(self, relation: str, role: Role) -> tuple[str, ...]:
        """The distinct subjects or objects of a relation; none if it has no facts of it."""
        number = self._relation_ids.get(fold_text(relation))
        if number is None:
            return ()
        return self._texts(self._by_end[role].ends_of(number, len(self.entities)))

    def known(self, role: Role, relation: str, other: str) -> tuple[str, ...]:
        """What is known to stand in a role: objects of a subject, or subjects of an object.

        `other` is what stands at the other end.
        """
        number = self._relation_ids.get(fold_text(relation))
        entity = self._entity_ids.get(fold_text(other))
        if number is None or entity is None:
            return ()
        index = self._by_end["subject" if role == "object" else "object"]
        return self._texts(index.others_of(number * len(self.entities) + entity))

    def _texts(self, ids: Ids) -> tuple[str, ...]:
        return tuple(self.entities[number] for number in ids.tolist())


class _Names:
    """Numbers names as they come; those that fold to one text have one number."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.ids: dict[str, int] = {}
        # By spelling: most names come again, and folding takes longer than looking up.
        self._seen: dict[str, int] = {}

    def id_of(self, text: str) -> int:
        number = self._seen.get(text)
        if number is None:
            number = self.ids.setdefault(fold_text(text), len(self.texts))
            if number == len(self.texts):
                self.texts.append(text)
            self._seen[text] = number
        return number


def _append(
    columns: Sequence["array[int]"],
    fact: Fact,
    entity: Callable[[str], int],
    relation: Callable[[str], int],
) -> None:
    columns[0].append(entity(fact.subject))
    columns[1].append(relation(fact.relation))
    columns[2].append(entity(fact.object))


def _distinct(columns: Sequence[Ids]) -> list[Ids]:
    """The columns without repeated rows; the first of equal rows stays, and the order."""
    order = np.lexsort(columns)
    ordered = [column[order] for column in columns]
    repeated = np.ones(len(order) - 1, np.bool_)
    for column in ordered:
        repeated &= column[1:] == column[:-1]
    # A stable sort: the first of equal rows is the earliest.
    kept = np.sort(order[np.concatenate(([True], ~repeated))])
    return [column[kept] for column in columns]


def _nothing_usable(path: Path, bad: Sequence[BadLine]) -> str:
    reasons = "; ".join(f"line {line.number}: {line.reason}" for line in bad[:_SHOWN_REASONS])
    more = f"; and {len(bad) - _SHOWN_REASONS} more" if len(bad) > _SHOWN_REASONS else ""
    return f"knowledge base {path} holds no fact" + (f": {reasons}{more}" if bad else "")
