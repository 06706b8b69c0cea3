"""What is worth knowing about facts before a mask is learned from them: one finding each."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from plm import fold_text
from training.advice.vocabulary import OutsideObject
from training.data import BadLine, Rejected, Split, Triple
from training.facts import stem, stem_text
from training.naming import UnfitName


@dataclass(frozen=True)
class Finding:
    """One thing about the data.

    Attributes:
        title: what was found, with its count.
        count: how many facts, objects, lines or relations it is about.
        advice: what it means and what would be right.
        examples: one line each, all of them.
        problem: whether it loses facts or makes figures say too much; the others are notes.
    """

    title: str
    count: int
    advice: str
    examples: tuple[str, ...]
    problem: bool


def bad_lines(lines: Sequence[BadLine]) -> Finding | None:
    """Lines that hold no fact."""
    return _finding(
        "{} that hold{} no fact",
        "line",
        [f"{line.source} line {line.number}: {line.reason}" for line in lines],
        "They are passed over. Mend them, or leave them out.",
        problem=True,
    )


def outside_vocabulary(objects: Sequence[OutsideObject], most: int) -> Finding | None:
    """Objects that are not one token of the base, or more than `most`."""
    what = "one token" if most == 1 else f"at most {most} tokens"
    facts = sum(item.facts for item in objects)
    return _finding(
        "{} that " + ("is" if len(objects) == 1 else "are") + f" not {what} of the base",
        "object",
        [_outside_line(item) for item in objects],
        f"So {_count(facts, 'fact')} cannot be learned from. Put another word in place of the "
        "object; suggested are other spellings and near words of the base. Or let objects have "
        "more tokens (--object-tokens): they are then ranked among the relation's own objects.",
        problem=True,
    )


def unreadable_prompts(rejected: Sequence[Rejected]) -> Finding | None:
    """Facts whose prompt the base cannot read."""
    return _finding(
        "{} whose sentence the base cannot read",
        "fact",
        [f"{shown(item.triple)}: {item.reason}" for item in rejected],
        "They are passed over. Shorten the subject, or take what the reason names out of it.",
        problem=True,
    )


def repeated(triples: Iterable[Triple], lines: int) -> Finding | None:
    """Facts that are there several times: `lines` within a file, and those of several files."""
    seen: set[tuple[str, str, str]] = set()
    again = []
    for triple in triples:
        if triple.key in seen:
            again.append(f"{shown(triple)} is in two files")
        seen.add(triple.key)
    examples = tuple(dict.fromkeys(again))
    count = lines + len(again)
    if not count:
        return None
    return Finding(
        f"{_count(count, 'line')} that repeat{'s' if count == 1 else ''} a fact",
        count,
        "A fact counts once, whatever its case and spaces; nothing is lost.",
        examples,
        problem=False,
    )


def near_duplicates(triples: Iterable[Triple]) -> Finding | None:
    """Facts of a relation that differ by function words and plural endings only."""
    groups: dict[tuple[str, str, str], dict[tuple[str, str, str], Triple]] = defaultdict(dict)
    for triple in triples:
        groups[stem(triple)].setdefault(triple.key, triple)
    several = [list(group.values()) for group in groups.values() if len(group) > 1]
    return _finding(
        "{} of facts that differ by an article or a plural only",
        "group",
        [" = ".join(map(shown, group)) for group in several],
        "Keep one of each group: the split may put one into train and its twin into test.",
        problem=False,
    )


def leaks(splits: Iterable[Split]) -> Finding | None:
    """Held-out facts that a training fact of their split resembles."""
    found = []
    for split in splits:
        train = {stem(triple): triple for triple in split.train}
        found += [
            f"{shown(triple)} ({part}) resembles {shown(train[stem(triple)])} (train)"
            for part, triples in split.parts()[1:]
            for triple in triples
            if stem(triple) in train
        ]
    return _finding(
        "held-out {} that resemble{} a training fact",
        "fact",
        found,
        "The mask has as good as seen them, so that the report flatters it. Remove one of each.",
        problem=True,
    )


def object_in_subject(triples: Iterable[Triple]) -> Finding | None:
    """Facts whose subject says the object: `apple juice`, `juice`."""
    return _finding(
        "{} whose object stands in its own subject",
        "fact",
        [shown(triple) for triple in triples if _holds(triple.subject, triple.object)],
        "Copying a word answers them, which takes no knowledge. Leave them out if they are to be "
        "tested on (as LAMA-UHN does).",
        problem=True,
    )


def two_relations(triples: Iterable[Triple]) -> Finding | None:
    """Pairs of a subject and an object that two relations or more have."""
    pairs: dict[tuple[str, str], dict[str, Triple]] = defaultdict(dict)
    for triple in triples:
        subject, relation, object_ = triple.key
        pairs[subject, object_].setdefault(relation, triple)
    shared = [list(found.values()) for found in pairs.values() if len(found) > 1]
    return _finding(
        "{} of subject and object under two relations or more",
        "pair",
        [
            f"{group[0].subject}, {group[0].object}: "
            f"{', '.join(sorted(triple.relation for triple in group))}"
            for group in shared
        ],
        "Right where both relations hold. Otherwise one is a mistake, and it blurs what tells the "
        "relations' masks apart.",
        problem=False,
    )


def unfit_relations(names: Sequence[UnfitName]) -> Finding | None:
    """Relations whose names no mask can have."""
    return _finding(
        "{} that name{} no mask",
        "relation",
        [f"{name.reason}; try {name.suggestion!r}" for name in names],
        "Rename them: the name stands in a file name and in a URL.",
        problem=True,
    )


def too_few(usable: Mapping[str, int], least: int) -> Finding | None:
    """Relations with fewer usable facts than a split needs."""
    return _finding(
        f"{{}} with fewer than {least} usable facts",
        "relation",
        [f"{relation}: {count}" for relation, count in usable.items()],
        f"Nothing can be learned from them: {least} facts can be split, and some hundreds make a "
        "useful mask.",
        problem=True,
    )


def few_to_test(tested: Mapping[str, int], least: int) -> Finding | None:
    """Relations whose test facts are too few for a verdict."""
    return _finding(
        f"{{}} with fewer than {least} test facts",
        "relation",
        [f"{relation}: {count}" for relation, count in tested.items()],
        f"A tenth of the facts is tested on; below {least} of them the report cannot tell whether "
        "the mask is worth having. More facts are the remedy.",
        problem=False,
    )


def shown(triple: Triple) -> str:
    """The fact as people write it: `<milk, StoredIn, refrigerator>`."""
    return f"<{triple.subject}, {triple.relation}, {triple.object}>"


def _holds(subject: str, object_: str) -> bool:
    words, sought = (stem_text(fold_text(text)).split() for text in (subject, object_))
    return any(
        words[start : start + len(sought)] == sought
        for start in range(len(words) - len(sought) + 1)
    )


def _outside_line(item: OutsideObject) -> str:
    line = f"{item.object} ({_count(item.facts, 'fact')})"
    line += f" = {' '.join(item.pieces)}" if item.pieces else " is unknown to the vocabulary"
    return f"{line}; try {', '.join(item.suggestions)}" if item.suggestions else line


def _finding(
    title: str, noun: str, examples: Sequence[str], advice: str, *, problem: bool
) -> Finding | None:
    """A finding of so many examples; a second {} in the title is the verb's ending."""
    count = len(examples)
    if not count:
        return None
    ending = "s" if count == 1 else ""
    return Finding(
        title.format(_count(count, noun), ending), count, advice, tuple(examples), problem
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
