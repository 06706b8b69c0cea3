"""Which errors are the user's to mend, for the command line."""

import sys

from app.errors import AppError
from masks import MaskError


def mistake(error: Exception) -> str | None:
    """One line to tell the user; None for an error that is a fault of the program."""
    known: tuple[type[Exception], ...] = (AppError, MaskError)
    if (plm := sys.modules.get("plm")) is not None:
        # Only a command that loaded plm can have raised its errors; loading it costs seconds.
        known = (*known, plm.PlmError)
    if not isinstance(error, known):
        return None
    return " ".join(str(error).split())
