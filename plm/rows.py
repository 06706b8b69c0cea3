"""A row: tokens, and the slots at which the model is asked what it expects."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EncodedRow:
    """One sentence as the model reads it.

    Attributes:
        input_ids: its tokens, special ones included.
        slots: positions of `input_ids`, one or more, ascending, where the model is asked what it
            expects.
        second_segment: position of the first token of the second segment; None if there is one
            segment only, and for a base without segments.
    """

    input_ids: tuple[int, ...]
    slots: tuple[int, ...]
    second_segment: int | None = None
