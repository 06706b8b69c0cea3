"""Sentences for a relation that has none, from the words of its name."""

import re

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
# A number of Wikidata (P19) or the like says nothing.
_NO_NAME = re.compile(r"[A-Za-z]?[0-9]+")

_PREPOSITIONS = re.compile(
    "about|after|against|as|at|before|between|by|during|for|from|in|inside|into|like|near|of|on|"
    "onto|outside|over|than|through|to|towards?|under|with|within|without"
)
_AUXILIARIES = re.compile("is|are|was|were|can|may|should|does|will")
# Endings of most participles: stored, made, worn, kept, found.
_PARTICIPLE = re.compile("(ed|en|ade|orn|own|one|ept|ound|ught|uilt|eld)$")


def name_words(relation: str) -> tuple[str, ...]:
    """The words of a relation's name in lower case: `StoredIn`, `stored_in` and `stored-in` alike.

    None where the name is a mere number, such as Wikidata's `P19`.
    """
    words = [word.lower() for word in _WORD.findall(relation.rsplit("/", 1)[-1])]
    return () if _NO_NAME.fullmatch("".join(words)) else tuple(words)


def wordings_of(relation: str) -> tuple[str, ...]:
    """Templates that the relation's name suggests, then general ones; each differs from the others.

    English, and only proposals: how well each fits is for facts to say (`rank_templates`).
    """
    words = name_words(relation)
    return tuple(dict.fromkeys([*(_from_words(words) if words else ()), *_GENERAL]))


# What is left to say when a name says nothing: bare forms, as the unmasked model may complete them.
_GENERAL = ("[X] is [Y].", "[X] is a [Y].", "[X], for example [Y].", "[X]: [Y].", "[X] [Y].")


def _from_words(words: tuple[str, ...]) -> list[str]:
    phrase = " ".join(words)
    first, last = words[0], words[-1]
    if _AUXILIARIES.fullmatch(first):
        return [*_followed(f"[X] {phrase}"), *_followed(f"A [X] {phrase}")]
    if first in ("has", "have"):
        return _having(words[1:])
    if _PREPOSITIONS.fullmatch(last):
        return _with_preposition(words)
    if _PREPOSITIONS.fullmatch(first):
        thing = " ".join(words[1:])
        return [
            f"[X] is {first} the {thing} [Y].",
            f"[X] is {first} the {thing} of [Y].",
            *_followed(f"[X] is {first}"),
            f"The {thing} of [X] is [Y].",
        ]
    if _is_verb(first):
        what = f"What [X] {phrase} is [Y]."
        return [*_followed(f"[X] {phrase}"), *_followed(f"A [X] {phrase}"), what]
    return [
        f"The {phrase} of [X] is [Y].",
        f"The {phrase} of a [X] is [Y].",
        f"The {phrase} of the [X] is the [Y].",
        f"[X] has the {phrase} [Y].",
        f"[Y] is the {phrase} of [X].",
        f"[X], {phrase}: [Y].",
    ]


def _having(rest: tuple[str, ...]) -> list[str]:
    if not rest:
        return [*_followed("[X] has"), *_followed("A [X] has")]
    thing = " ".join(rest)
    return [
        f"The {thing} of [X] is [Y].",
        f"The {thing} of a [X] is [Y].",
        f"[X] has the {thing} [Y].",
        f"A [X] has the {thing} [Y].",
        f"[Y] is a {thing} of [X].",
        f"[X], {thing}: [Y].",
    ]


def _with_preposition(words: tuple[str, ...]) -> list[str]:
    """`stored in`, `works at`, `capital of`: a participle, a verb or a noun before it."""
    phrase, first = " ".join(words), words[0]
    if len(words) > 1 and _is_verb(first):
        return [*_followed(f"[X] {phrase}"), *_followed(f"A [X] {phrase}")]
    forms = [*_followed(f"[X] is {phrase}"), *_followed(f"The [X] is {phrase}")]
    if _PARTICIPLE.search(first):
        forms += [f"[X] can be {phrase} the [Y].", f"[X] is often {phrase} a [Y]."]
    elif len(words) > 1:
        forms.append(f"[X] is the {phrase} [Y].")
    return forms


def _followed(start: str) -> list[str]:
    """The object after a start, with each article unless the start ends in one."""
    if start.rsplit(" ", 1)[-1] in ("a", "an", "the"):
        return [f"{start} [Y]."]
    return [f"{start} {article}[Y]." for article in ("", "a ", "the ")]


def _is_verb(word: str) -> bool:
    """Whether it looks like a verb of the third person: `works`, not `class` or `status`."""
    return len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is"))
