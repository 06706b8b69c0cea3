"""What the service refuses, without HTTP; `app.problems` says how each looks to a client."""

from dataclasses import dataclass
from difflib import get_close_matches


class AppError(Exception):
    """Base of all errors of the service."""


class SettingsError(AppError):
    """A setting that is wrong; the message names it and says what is right."""


class StartupError(AppError):
    """The service cannot start as it is set up."""


@dataclass(frozen=True)
class FieldFault:
    """What is wrong with one field of a request.

    Attributes:
        path: where the field stands in the body, keys and list indices.
        detail: a sentence that says what is wrong and what would be right.
    """

    path: tuple[str | int, ...]
    detail: str


class RequestError(AppError):
    """A body that breaks the rules of its schema, or limits that only the service knows."""

    def __init__(self, faults: tuple[FieldFault, ...]) -> None:
        super().__init__(faults)
        self.faults = faults

    def __str__(self) -> str:
        return "; ".join(fault.detail for fault in self.faults)


class CombineError(RequestError):
    """A way to combine masks that means nothing."""


class PromptRefusedError(RequestError):
    """A subject or template that makes no prompt."""


class WordError(RequestError):
    """A target or filter word that is not one token."""


class TooManyQuestionsError(AppError):
    """More questions in one request than are allowed."""

    def __init__(self, what: str, count: int, limit: int) -> None:
        super().__init__(
            f"the request holds {count} {what}; at most {limit} go into one. Send several requests"
        )
        self.limit = limit


class TooManyItemsError(AppError):
    """More completions asked for by one request than are allowed."""

    def __init__(self, count: int, limit: int) -> None:
        super().__init__(
            f"the request asks for {count} completions; at most {limit} go into one. Lower top_k "
            f"or send several requests"
        )
        self.limit = limit


class TooManyCandidatesError(AppError):
    """More candidates to be ranked by one request than are allowed."""

    def __init__(self, count: int, limit: int) -> None:
        super().__init__(
            f"the request has {count} candidates ranked, over all its queries; at most {limit} go "
            f"into one. Give fewer or send several requests"
        )
        self.limit = limit


class TooManyRowsError(AppError):
    """A request that needs more rows of the model than are allowed."""

    def __init__(self, count: int, limit: int) -> None:
        super().__init__(
            f"the request needs {count} or more sentences run through the model; at most {limit} "
            f"go into one. Send several requests, or shorter texts"
        )
        self.limit = limit


class DeadlineError(AppError):
    """A request that was not answered in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"the request was not answered within {seconds:g} s and was given up; send less at "
            f"once, try again later, or allow more with X-Request-Timeout"
        )
        self.limit = seconds


class TimeoutHeaderError(AppError):
    """An X-Request-Timeout that is no number of seconds, or out of range."""


class UnauthorizedError(AppError):
    """A request without the key that it needs, or with another one."""


class ForbiddenError(AppError):
    """A request for something that this service is not set up to do."""


class MaskRefusedError(AppError):
    """An uploaded mask file that cannot be served."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the mask file is refused: {reason}")
        self.reason = reason


class MaskNotKeptError(AppError):
    """A mask or its removal that cannot be written to the folder of uploads."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"nothing was changed, as it cannot be kept in RELATA_UPLOADS: {reason}")
        self.reason = reason


class PreconditionError(AppError):
    """A change for a mask other than the one that is served now (If-Match, If-None-Match)."""


class RefusedRelationError(AppError):
    """A relation whose mask file was refused when the service started."""

    def __init__(self, relation: str, file: str, reason: str, known: tuple[str, ...]) -> None:
        super().__init__(
            f"relation {relation!r:.160} is not served, because its mask file {file} was refused: "
            f"{reason}"
        )
        self.relation = relation
        self.reason = reason
        self.known = known


class UnknownKnowledgeError(AppError):
    """A knowledge base that is not loaded.

    Attributes:
        known: the names of those that are, in their order.
        nearest: the one spelled most like it (case ignored), or None.
    """

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        by_folded = {one.casefold(): one for one in known}
        matches = get_close_matches(name.casefold(), by_folded, n=1)
        self.known = known
        self.nearest = by_folded[matches[0]] if matches else None
        hint = f"; did you mean {self.nearest!r}?" if self.nearest else ""
        none = "" if known else "; none is loaded (RELATA_KNOWLEDGE)"
        super().__init__(f"there is no knowledge base {name!r:.160}{hint}{none}")


class OverloadedError(AppError):
    """The queue is full.

    Attributes:
        retry_after: seconds after which there should be room, at least 1.
    """

    def __init__(self, waiting: int, limit: int, retry_after: int) -> None:
        super().__init__(
            f"{waiting} queries are being worked on and at most {limit} may be; try again in "
            f"{retry_after} s"
        )
        self.retry_after = retry_after


class NotReadyError(AppError):
    """The model is not loaded yet, or the service is stopping."""


class MediaTypeError(AppError):
    """A body that does not say it is JSON."""


class BodyTooLargeError(AppError):
    """A body over the limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the request's body is larger than {limit} bytes, which is the limit")
        self.limit = limit


class InvalidJsonError(AppError):
    """A body that is not JSON.

    Attributes:
        line: where it went wrong, counted from 1; None where that is not known.
        column: likewise.
    """

    def __init__(self, reason: str, line: int | None = None, column: int | None = None) -> None:
        place = "" if line is None else f" (line {line}, column {column})"
        super().__init__(f"the request's body is not valid JSON: {reason}{place}")
        self.line = line
        self.column = column
