"""What counts as text, and when two texts are one thing."""

import unicodedata


def forbidden_character(text: str) -> str | None:
    """What makes a text no text: a control character or half of a surrogate pair, named."""
    if text.isprintable():
        # Neither kind is printable, and this looks at the characters in C.
        return None
    for character in text:
        category = unicodedata.category(character)
        if category == "Cc" and not character.isspace():
            return f"the control character U+{ord(character):04X}"
        if category == "Cs":
            return f"the lone surrogate U+{ord(character):04X}"
    return None


def collapse_spaces(text: str) -> str:
    """The text trimmed, with every run of white space as one space."""
    return " ".join(text.split())


def fold_text(text: str) -> str:
    """A text as it counts for identity: spaces collapsed, case folded, composed (NFC).

    `Paris isA  City` and `paris IsA city` are one fact, in training and in a knowledge base.
    """
    return unicodedata.normalize("NFC", collapse_spaces(text).casefold())
