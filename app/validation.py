"""What pydantic has to say of a body, in sentences that name the field and what is right."""

import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from app.errors import FieldFault, RequestError

_KINDS = {
    type(None): "null",
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
}


Schema = TypeVar("Schema", bound=BaseModel)


def parse(schema: type[Schema], body: object, path: tuple[str | int, ...] = ()) -> Schema:
    """Check a decoded body against a schema; `path` is where it stands in the request.

    Raises:
        RequestError: it does not fit.
    """
    try:
        return schema.model_validate(body)
    except ValidationError as error:
        raise RequestError(faults_of(error, schema, path)) from error


def faults_of(
    error: ValidationError, schema: type[BaseModel], path: tuple[str | int, ...] = ()
) -> tuple[FieldFault, ...]:
    """One fault for each error; `path` is where the validated part stands in the body."""
    return tuple(
        FieldFault((*path, *detail["loc"]), _sentence(detail, schema))
        for detail in error.errors(include_url=False)
    )


def _sentence(detail: ErrorDetails, schema: type[BaseModel]) -> str:
    value: Any = detail["input"]
    match detail["type"]:
        case "missing":
            return "it is required"
        case "extra_forbidden":
            return f"there is no such field; the fields are {', '.join(schema.model_fields)}"
        case "model_type" | "dict_type":
            return f"it must be a JSON object, not {_kind(value)}"
        case "string_unicode":
            return "it holds half of a surrogate pair, which is no character; write plain text"
        case "string_too_long" | "too_short" | "relation" | "sentence":
            # These say how long the value is; what it is would only fill the answer.
            return re.sub("^(String|List|Value)", "it", detail["msg"])
    wanted = detail["msg"].removeprefix("Input ")
    shown = repr(value)[:80] if isinstance(value, str | int | float) else _kind(value)
    return f"it {wanted}, not {shown}"


def _kind(value: object) -> str:
    return _KINDS.get(type(value), type(value).__name__)
