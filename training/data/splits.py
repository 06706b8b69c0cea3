"""Splits facts into train, validation and test so that no fact stands in two of them."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.data.errors import DataError
from training.data.json_lines import json_object, parse_json_row
from training.data.rows import RowError, is_unicode
from training.data.source import digest_of, read_source
from training.data.triples import FactKey, Triple

SPLIT_NAMES = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Split:
    """Three disjoint sets of facts, each sorted by fact key.

    Raises:
        DataError: a fact stands twice.
    """

    train: tuple[Triple, ...]
    validation: tuple[Triple, ...]
    test: tuple[Triple, ...]

    def __post_init__(self) -> None:
        place: dict[FactKey, str] = {}
        for name, triples in self.parts():
            for triple in triples:
                if triple.key in place:
                    raise DataError(
                        f"{triple} stands in {place[triple.key]} and in {name}: a fact belongs to "
                        "one split, once"
                    )
                place[triple.key] = name

    def parts(self) -> tuple[tuple[str, tuple[Triple, ...]], ...]:
        """Return (name, facts) of the three splits."""
        return tuple(zip(SPLIT_NAMES, (self.train, self.validation, self.test), strict=True))

    @property
    def digest(self) -> str:
        """`sha256:` of which spelling of which fact is in which split, whatever the order."""
        return digest_of("".join(sorted(_lines_of(self))).encode())

    def of_relation(self, relation: str) -> "Split":
        """Return the part of the split about one relation, spelt as in the data."""
        train, validation, test = (
            tuple(triple for triple in triples if triple.relation == relation)
            for _, triples in self.parts()
        )
        return Split(train, validation, test)


def split_by_fact(
    triples: Iterable[Triple], *, seed: int, shares: tuple[int, int, int] = (7, 2, 1)
) -> Split:
    """Split the distinct facts of each relation by `shares` (train, validation, test).

    Facts are ordered by a hash of the seed and their key: the split depends on which facts there
    are and on the seed, never on their order, spelling or repetition. Of several spellings of a
    fact the first in code-point order is kept. Each split gets one fact of a relation at least.

    Raises:
        DataError: a relation with fewer than three distinct facts, or spelt in two ways.
        ValueError: a share below 1.
    """
    if any(share < 1 for share in shares):
        raise ValueError(f"every share must be at least 1: {shares}")
    relations: dict[str, dict[FactKey, Triple]] = defaultdict(dict)
    for triple in triples:
        key = triple.key
        facts = relations[key[1]]
        facts[key] = min(facts.get(key, triple), triple)
    _check_spellings(relations.values())
    parts: tuple[list[Triple], list[Triple], list[Triple]] = ([], [], [])
    for facts in relations.values():
        ordered = sorted(facts, key=lambda key: (_seeded_hash(seed, key), key))
        start = 0
        for part, size in zip(parts, _sizes(facts, shares), strict=True):
            part.extend(facts[key] for key in ordered[start : start + size])
            start += size
    train, validation, test = (tuple(sorted(part, key=lambda triple: triple.key)) for part in parts)
    return Split(train, validation, test)


def save_split(split: Split, path: Path) -> None:
    """Write the split as JSON lines of `split`, `subject`, `relation`, `object`."""
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_text("".join(_lines_of(split)), encoding="utf-8", newline="\n")
    unfinished.replace(path)


def load_split(path: Path) -> Split:
    """Read a split that `save_split` wrote.

    Raises:
        DataError: a line cannot be read (a split with holes would not be the same split), or a
            fact stands twice.
    """
    parts: dict[str, list[Triple]] = {name: [] for name in SPLIT_NAMES}
    source = read_source(path)
    for number, line in enumerate(source.lines, start=1):
        if not line.strip():
            continue
        try:
            if not is_unicode(line):
                raise RowError("not valid UTF-8")
            place = json_object(line).get("split")
            if not isinstance(place, str) or place not in parts:
                raise RowError(f"'split' must be one of {', '.join(SPLIT_NAMES)}, not {place!r}")
            parts[place].append(parse_json_row(line))
        except RowError as error:
            raise DataError(f"{source.name} line {number}: {error}") from error
    train, validation, test = (
        tuple(sorted(parts[name], key=lambda triple: triple.key)) for name in SPLIT_NAMES
    )
    return Split(train, validation, test)


def _lines_of(split: Split) -> list[str]:
    return [
        json.dumps(
            {
                "split": name,
                "subject": triple.subject,
                "relation": triple.relation,
                "object": triple.object,
            },
            ensure_ascii=False,
        )
        + "\n"
        for name, triples in split.parts()
        for triple in triples
    ]


def _check_spellings(relations: Iterable[dict[FactKey, Triple]]) -> None:
    for facts in relations:
        spellings = sorted({triple.relation for triple in facts.values()})
        if len(spellings) > 1:
            raise DataError(
                f"one relation is spelt in several ways: {', '.join(spellings)}; choose one"
            )


def _seeded_hash(seed: int, key: FactKey) -> bytes:
    return hashlib.sha256(json.dumps([seed, *key]).encode()).digest()


def _sizes(facts: dict[FactKey, Triple], shares: Sequence[int]) -> list[int]:
    """Return how many facts each split gets: largest remainders, then one each at least."""
    count = len(facts)
    if count < len(shares):
        relation = next(iter(facts.values())).relation
        raise DataError(
            f"relation {relation} has {count} distinct fact{'' if count == 1 else 's'}; "
            f"{len(shares)} are the least that can be split into {', '.join(SPLIT_NAMES)}"
        )
    total = sum(shares)
    sizes = [count * share // total for share in shares]
    remainders = [count * share % total for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: -remainders[i])
    for i in by_remainder[: count - sum(sizes)]:
        sizes[i] += 1
    for i, size in enumerate(sizes):
        if size == 0:
            sizes[sizes.index(max(sizes))] -= 1
            sizes[i] = 1
    return sizes
