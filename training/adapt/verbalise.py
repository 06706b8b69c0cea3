"""Dictionary entries as sentences: `linen: a fabric ...` becomes `linen is a fabric ...`.

A cloze prompt asks in sentences, and a colon is not one. Only glosses that start like a noun
phrase are rewritten: for them the copula is right whatever the headword.
"""

from __future__ import annotations

import re

_ENTRY = re.compile(
    r"^([A-Za-z][A-Za-z' -]{1,30}): ((?:an?|the|any|some|one|someone|something) .+)$"
)
_PARENTHESIS = re.compile(r"^\([^)]*\) ")


def verbalise(line: str, index: int) -> str:
    """The line as a sentence, or as it is where it is not a noun's dictionary entry.

    `index` varies the wording, so that the model does not learn one frame only.
    """
    entry = _ENTRY.match(line)
    if entry is None:
        return line
    word, definition = entry.group(1), _PARENTHESIS.sub("", entry.group(2)).rstrip(".")
    article = "an" if word[0].lower() in "aeiou" else "a"
    frames = (
        f"{article} {word} is {definition}.",
        f"{word} is {definition}.",
        f"{article} {word} is a kind of {_without_article(definition)}.",
        line,
    )
    return frames[index % len(frames)]


def _without_article(definition: str) -> str:
    return re.sub(r"^(?:an?|the|any|some) ", "", definition)
