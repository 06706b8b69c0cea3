"""The one place where an error becomes HTTP: its type, status and words (RFC 9457)."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from app.errors import (
    AppError,
    BodyTooLargeError,
    CombineError,
    DeadlineError,
    FieldFault,
    ForbiddenError,
    InvalidJsonError,
    MaskNotKeptError,
    MaskRefusedError,
    MediaTypeError,
    NotReadyError,
    OverloadedError,
    PreconditionError,
    PromptRefusedError,
    RefusedRelationError,
    RequestError,
    TimeoutHeaderError,
    TooManyCandidatesError,
    TooManyItemsError,
    TooManyQuestionsError,
    TooManyRowsError,
    UnauthorizedError,
    UnknownKnowledgeError,
    WordError,
)
from app.json_text import encode_json
from app.schemas.problem import Fault, Problem
from masks import UnknownRelationError

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
# Of a request whose client went away: no client sees it, logs and metrics do.
CLIENT_GONE = 499
# A body may hold thousands of bad words; the first ones show what is wrong.
_MOST_FAULTS = 100
_FAULTS_IN_DETAIL = 3


@dataclass(frozen=True)
class ProblemType:
    """A kind of problem.

    Attributes:
        name: the end of its URI, which never changes; or a whole URI.
        status: the HTTP status.
        title: the kind, in words.
    """

    name: str
    status: int
    title: str

    @property
    def uri(self) -> str:
        """What stands as `type`."""
        return self.name if ":" in self.name else f"urn:relata:problem:{self.name}"


INVALID_JSON = ProblemType("invalid-json", 400, "The body is not valid JSON")
UNKNOWN_RELATION = ProblemType("unknown-relation", 404, "Unknown relation")
UNKNOWN_KNOWLEDGE = ProblemType("unknown-knowledge", 404, "Unknown knowledge base")
REFUSED_RELATION = ProblemType("refused-relation", 404, "The relation's mask file was refused")
NOT_FOUND = ProblemType("not-found", 404, "There is nothing here")
METHOD_NOT_ALLOWED = ProblemType("method-not-allowed", 405, "Method not allowed")
PRECONDITION_FAILED = ProblemType("precondition-failed", 412, "The mask is another one by now")
BODY_TOO_LARGE = ProblemType("body-too-large", 413, "The body is too large")
UNSUPPORTED_MEDIA_TYPE = ProblemType("unsupported-media-type", 415, "Unsupported media type")
INVALID_REQUEST = ProblemType("invalid-request", 422, "The request is not valid")
INVALID_PROMPT = ProblemType("invalid-prompt", 422, "Subject and template make no prompt")
INVALID_WORD = ProblemType("invalid-word", 422, "A word is not one token")
INVALID_COMBINE = ProblemType("invalid-combine", 422, "The masks cannot be combined so")
TOO_MANY_QUESTIONS = ProblemType("too-many-queries", 422, "Too many queries")
TOO_MANY_ITEMS = ProblemType("too-many-completions", 422, "Too many completions")
TOO_MANY_CANDIDATES = ProblemType("too-many-candidates", 422, "Too many candidates")
TOO_MANY_ROWS = ProblemType("too-many-rows", 422, "Too many sentences for the model")
INVALID_MASK_FILE = ProblemType("invalid-mask-file", 422, "The mask file cannot be served")
INVALID_TIMEOUT = ProblemType("invalid-timeout", 400, "X-Request-Timeout is not valid")
UNAUTHORIZED = ProblemType("unauthorized", 401, "A key is needed")
FORBIDDEN = ProblemType("forbidden", 403, "Not allowed here")
DEADLINE_EXCEEDED = ProblemType("deadline-exceeded", 504, "Not answered in time")
OVERLOADED = ProblemType("overloaded", 429, "The queue is full")
MASK_NOT_KEPT = ProblemType("mask-not-kept", 507, "The change cannot be kept")
INTERNAL_ERROR = ProblemType("internal-error", 500, "Internal error")
NOT_READY = ProblemType("not-ready", 503, "Not ready")

PROBLEM_TYPES = (
    INVALID_JSON,
    INVALID_TIMEOUT,
    UNAUTHORIZED,
    FORBIDDEN,
    UNKNOWN_RELATION,
    UNKNOWN_KNOWLEDGE,
    REFUSED_RELATION,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    PRECONDITION_FAILED,
    BODY_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    INVALID_REQUEST,
    INVALID_PROMPT,
    INVALID_WORD,
    INVALID_COMBINE,
    TOO_MANY_QUESTIONS,
    TOO_MANY_ITEMS,
    TOO_MANY_CANDIDATES,
    TOO_MANY_ROWS,
    INVALID_MASK_FILE,
    OVERLOADED,
    INTERNAL_ERROR,
    NOT_READY,
    DEADLINE_EXCEEDED,
    MASK_NOT_KEPT,
)


_KINDS: tuple[tuple[type[Exception], ProblemType], ...] = (
    # The first that fits counts: the particular ones before the general one.
    (UnknownRelationError, UNKNOWN_RELATION),
    (RefusedRelationError, REFUSED_RELATION),
    (UnknownKnowledgeError, UNKNOWN_KNOWLEDGE),
    (PromptRefusedError, INVALID_PROMPT),
    (WordError, INVALID_WORD),
    (CombineError, INVALID_COMBINE),
    (RequestError, INVALID_REQUEST),
    (TooManyQuestionsError, TOO_MANY_QUESTIONS),
    (TooManyItemsError, TOO_MANY_ITEMS),
    (TooManyCandidatesError, TOO_MANY_CANDIDATES),
    (TooManyRowsError, TOO_MANY_ROWS),
    (MaskRefusedError, INVALID_MASK_FILE),
    (MaskNotKeptError, MASK_NOT_KEPT),
    (PreconditionError, PRECONDITION_FAILED),
    (TimeoutHeaderError, INVALID_TIMEOUT),
    (UnauthorizedError, UNAUTHORIZED),
    (ForbiddenError, FORBIDDEN),
    (DeadlineError, DEADLINE_EXCEEDED),
    (BodyTooLargeError, BODY_TOO_LARGE),
    (InvalidJsonError, INVALID_JSON),
    (MediaTypeError, UNSUPPORTED_MEDIA_TYPE),
    (OverloadedError, OVERLOADED),
    (NotReadyError, NOT_READY),
)
# What an error knows beside its sentence, and a client may want to read by program.
_MEMBERS = ("known", "nearest", "reason", "limit", "line", "column")


def kind_of(error: Exception) -> ProblemType:
    """What kind of problem an error is; an internal error, if nobody foresaw it."""
    return next((kind for known, kind in _KINDS if isinstance(error, known)), INTERNAL_ERROR)


def problem_of(error: Exception, **members: object) -> Problem:
    """The problem that a client sees; `members` are added to it.

    An error that nobody foresaw becomes an internal error that tells nothing of it.
    """
    kind = kind_of(error)
    if kind is not INTERNAL_ERROR:
        members |= {name: getattr(error, name) for name in _MEMBERS if hasattr(error, name)}
    return _problem(
        kind,
        _detail(error, kind),
        errors=_faults(error) if isinstance(error, RequestError) else None,
        **members,
    )


def plain_problem(status: int, detail: str) -> Problem:
    """A problem of no kind beyond its status."""
    return _problem(ProblemType("about:blank", status, HTTPStatus(status).phrase), detail)


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """The problem as a response."""
    return Response(encode_json(problem.content()), problem.status, dict(headers or {}), MEDIA_TYPE)


def error_response(error: Exception, **members: object) -> Response:
    """The response to an error, with the headers that belong to it."""
    headers = {}
    if isinstance(error, OverloadedError):
        headers["Retry-After"] = str(error.retry_after)
    elif isinstance(error, NotReadyError):
        headers["Retry-After"] = "1"
    elif isinstance(error, UnauthorizedError):
        headers["WWW-Authenticate"] = "Bearer"
    return problem_response(problem_of(error, **members), headers)


def add_error_handlers(app: FastAPI) -> None:
    """Make every error of the application a problem, those of the framework too."""

    async def known(_: Request, error: Exception) -> Response:
        return error_response(error)

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        faults = tuple(
            FieldFault(tuple(detail["loc"]), str(detail["msg"])) for detail in error.errors()
        )
        return error_response(RequestError(faults))

    async def framework(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return problem_response(_framework_problem(error), error.headers)

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=CLIENT_GONE)

    app.add_exception_handler(AppError, known)
    app.add_exception_handler(UnknownRelationError, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, framework)
    app.add_exception_handler(ClientDisconnect, gone)


def documented(*types: ProblemType) -> dict[int | str, dict[str, Any]]:
    """What an endpoint's `responses` say of these problems."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for kind in (*types, INTERNAL_ERROR):
        response = by_status.setdefault(
            kind.status,
            {
                "description": "",
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        )
        line = f"`{kind.uri}`: {kind.title}."
        response["description"] = f"{response['description']}\n\n{line}".strip()
    return by_status


def _problem(
    kind: ProblemType,
    detail: str,
    errors: list[Fault] | None = None,
    **members: Any,
) -> Problem:
    return Problem(
        type=kind.uri,
        title=kind.title,
        status=kind.status,
        detail=_sentence(detail),
        errors=errors,
        **members,
    )


def _detail(error: Exception, kind: ProblemType) -> str:
    if kind is INTERNAL_ERROR:
        return "The request could not be answered; the log has the reason under the request's id."
    if isinstance(error, UnknownRelationError):
        hint = f"; did you mean {error.nearest!r}?" if error.nearest else ""
        return f"there is no relation {error.relation!r:.160}{hint}"
    if isinstance(error, RequestError):
        return _request_detail(error)
    return str(error)


def _request_detail(error: RequestError) -> str:
    shown = [
        f"{fault.path[-1]}: {fault.detail}" if fault.path else fault.detail
        for fault in error.faults[:_FAULTS_IN_DETAIL]
    ]
    if len(error.faults) > len(shown):
        shown.append(f"and {len(error.faults) - len(shown)} more")
    return "; ".join(shown)


def _faults(error: RequestError) -> list[Fault]:
    return [
        Fault(pointer=_pointer(fault.path), detail=_sentence(fault.detail))
        for fault in error.faults[:_MOST_FAULTS]
    ]


def _framework_problem(error: HTTPException) -> Problem:
    match error.status_code:
        case 404:
            return _problem(NOT_FOUND, "There is nothing at this path; GET /docs lists what is.")
        case 405:
            allowed = (error.headers or {}).get("allow") or (error.headers or {}).get("Allow")
            return _problem(
                METHOD_NOT_ALLOWED,
                f"This path does not take that method; it takes {allowed or 'another one'}.",
            )
        case 415:
            return _problem(UNSUPPORTED_MEDIA_TYPE, str(error.detail))
    return plain_problem(error.status_code, str(error.detail))


def _pointer(path: tuple[str | int, ...]) -> str:
    """A JSON pointer as a URI fragment (RFC 6901)."""
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in path)
    return "#" + "".join(f"/{quote(part, safe='~', errors='replace')}" for part in parts)


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?", "!")) else f"{text}."
