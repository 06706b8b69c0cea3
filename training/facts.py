"""From files of triples to facts the base can be asked, split for learning."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from plm import BaseModel, EncodedPrompt, PromptError, Template, collapse_spaces, encode_prompt
from training.data import (
    BadLine,
    DataError,
    Format,
    Rejected,
    RelationTemplates,
    Split,
    Triple,
    TripleFile,
    Usable,
    keep_sayable,
    read_triples,
    select_templates,
)
from training.data.source import digest_of
from training.learning import object_tokens


@dataclass(frozen=True)
class FactFiles:
    """What files of triples held, before a base was asked.

    Attributes:
        name: the files' names.
        digest: `sha256:` of the files.
        triples: the facts in the files' order; one that is in two files is there twice.
        bad_lines: lines that hold no fact.
        repeated: lines that repeat a fact of their file.
        summaries: one paragraph for each file.
    """

    name: str
    digest: str
    triples: tuple[Triple, ...]
    bad_lines: tuple[BadLine, ...]
    repeated: int
    summaries: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """What was read and what of it can be used.

    Attributes:
        name: the files' names, for the mask's metadata.
        digest: `sha256:` of the files.
        triples: facts that can be asked, in the files' order.
        rejected: facts that cannot, each with its reason.
        bad_lines: lines that hold no fact.
        summaries: one paragraph for each file.
    """

    name: str
    digest: str
    triples: tuple[Triple, ...]
    rejected: tuple[Rejected, ...]
    bad_lines: tuple[BadLine, ...]
    summaries: tuple[str, ...]


def read_facts(
    base: BaseModel,
    paths: Sequence[Path],
    templates: Mapping[str, RelationTemplates],
    *,
    format: Format = "auto",
    relations: Sequence[str] = (),
    phrases: bool = False,
    most: int = 1,
) -> Facts:
    """Read files of triples and keep the facts that `base` can be asked with `templates`.

    `relations` and `phrases` as in `read_files`, `most` as in `usable_facts`.

    Raises:
        DataError: a file cannot be read, a relation has no templates or is in no file, or no fact
            is usable; the text says what would be right.
    """
    files = read_files(paths, format=format, relations=relations, phrases=phrases)
    return usable_facts(base, files, templates, most=most)


def read_files(
    paths: Sequence[Path],
    *,
    format: Format = "auto",
    relations: Sequence[str] = (),
    phrases: bool = False,
) -> FactFiles:
    """Read files of triples, whatever a base makes of them.

    `relations` narrows the files to those relations. `phrases`: subjects and objects are phrases,
    as in ConceptNet-100K (`to sleep`, `a car`); their leading function words are dropped, since
    the templates bring their own.

    Raises:
        DataError: a file cannot be read or holds no fact, or a relation is in no file.
    """
    files = [read_triples(path, format=format) for path in paths]
    triples = [triple for file in files for triple in file.triples]
    if relations:
        triples = _narrowed(triples, relations)
    if phrases:
        triples = list(dict.fromkeys(map(_bare, triples)))
    return FactFiles(
        name=", ".join(file.source for file in files),
        digest=_common_digest(files),
        triples=tuple(triples),
        bad_lines=tuple(line for file in files for line in file.bad_lines),
        repeated=sum(file.duplicates for file in files),
        summaries=tuple(file.summary() for file in files),
    )


def usable_facts(
    base: BaseModel,
    files: FactFiles,
    templates: Mapping[str, RelationTemplates],
    *,
    most: int = 1,
) -> Facts:
    """Keep the facts of the files that `base` can be asked with `templates`.

    `most` is how many tokens an object may have.

    Raises:
        DataError: a relation has no templates, or no fact is usable.
    """
    chosen = select_templates(templates, (triple.relation for triple in files.triples))
    usable = askable(base, files.triples, chosen, most=most)
    return Facts(
        name=files.name,
        digest=files.digest,
        triples=usable.triples,
        rejected=usable.rejected,
        bad_lines=files.bad_lines,
        summaries=files.summaries,
    )


def askable(
    base: BaseModel,
    triples: Iterable[Triple],
    templates: Mapping[str, RelationTemplates],
    *,
    most: int = 1,
) -> Usable:
    """Keep the facts whose object is at most `most` tokens and whose prompts the base can read.

    Raises:
        DataError: facts were given and none of them is usable.
    """
    sayable, rejected = keep_sayable(triples, lambda word: object_tokens(base, [word], most=most))
    kept: list[Triple] = []
    unreadable: list[Rejected] = []
    for triple in sayable:
        wordings = templates[triple.relation]
        try:
            for text in (wordings.evaluation, *wordings.training):
                prompt = encode_prompt(base, Template.parse(text), triple.subject)
                _check_length(base, prompt, most)
        except PromptError as error:
            unreadable.append(Rejected(triple, str(error)))
        else:
            kept.append(triple)
    if unreadable and not kept:
        raise DataError(f"no fact can be asked: {unreadable[0].reason}")
    return Usable(tuple(kept), (*rejected, *unreadable))


def _check_length(base: BaseModel, prompt: EncodedPrompt, most: int) -> None:
    """There must be room for every object that the subject is ranked with, not for its own alone.

    Raises:
        PromptError: there is none.
    """
    if len(prompt.input_ids) - 1 + most > base.max_length:
        raise PromptError(
            "subject",
            f"with an object of {most} tokens the prompt {prompt.text!r:.160} is longer than the "
            f"{base.max_length} tokens that {base.name} reads",
        )


def add_to_train(split: Split, further: Iterable[Triple]) -> Split:
    """The split with further facts to learn from: those no part of it holds already.

    Nothing near a held-out fact gets in either: a further fact is left out when it differs from a
    validation or test fact of its relation by function words or plural endings only.
    """
    train = {triple.key: triple for triple in split.train}
    for triple in unlike(further, (*split.validation, *split.test)):
        train.setdefault(triple.key, triple)
    ordered = tuple(sorted(train.values(), key=lambda triple: triple.key))
    return Split(ordered, split.validation, split.test)


def parts_to_learn(split: Split, relation: str, further: Iterable[Triple]) -> tuple[Split, ...]:
    """What a relation's mask may be learned from: its facts, and these with further ones added."""
    alone = split.of_relation(relation)
    more = [triple for triple in further if triple.relation == relation]
    return (alone, add_to_train(alone, more)) if more else (alone,)


def unlike(facts: Iterable[Triple], others: Iterable[Triple]) -> list[Triple]:
    """The facts that differ from each of the others by more than function words and plurals."""
    stems = {stem(triple) for triple in others}
    return [triple for triple in facts if stem(triple) not in stems]


def stem(triple: Triple) -> tuple[str, str, str]:
    """The fact's key, coarse so that too much is alike: no function words, no plurals."""
    subject, relation, object_ = triple.key
    return stem_text(subject), relation, stem_text(object_)


def stem_text(text: str) -> str:
    """A folded text without function words and plural endings, as `stem` takes it."""
    words = [word for word in text.split() if word not in _FUNCTION_WORDS] or text.split()
    return " ".join(word.removesuffix("s").removesuffix("e") for word in words)


_FUNCTION_WORDS = frozenset({"a", "an", "the", "to", "your", "some", "be", "get"})


def _bare(triple: Triple) -> Triple:
    return Triple(_bare_text(triple.subject), triple.relation, _bare_text(triple.object))


def _bare_text(text: str) -> str:
    first, _, rest = collapse_spaces(text).partition(" ")
    return rest if rest and first.casefold() in _FUNCTION_WORDS else collapse_spaces(text)


def _narrowed(triples: Sequence[Triple], relations: Sequence[str]) -> list[Triple]:
    there = {triple.relation for triple in triples}
    if missing := [relation for relation in relations if relation not in there]:
        raise DataError(
            f"no fact of {', '.join(missing)} in the data; its relations are "
            f"{', '.join(sorted(there))}"
        )
    return [triple for triple in triples if triple.relation in relations]


def _common_digest(files: Sequence[TripleFile]) -> str:
    if len(files) == 1:
        return files[0].digest
    return digest_of("\n".join(file.digest for file in files).encode())
