"""What becomes of a row."""

from collections.abc import Sequence

from app.fill.reading import Record
from app.schemas.completion import CompletionResponse

# A row, its completions, and the error that it has instead of them.
Answered = tuple[Record, Sequence[CompletionResponse], str | None]
