"""When two spellings are one thing."""

import unicodedata

from plm import collapse_spaces


def fold_text(text: str) -> str:
    """A text as it counts for identity: spaces collapsed, case folded, composed (NFC).

    The rule by which training tells facts apart: `Paris isA  City` and `paris IsA city` are one.
    """
    return unicodedata.normalize("NFC", collapse_spaces(text).casefold())
