"""What the questions and answers of several endpoints have in common."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from app.schemas.strict import Inbound, Outbound

# A prompt holds some hundred tokens; a text far beyond that is not even looked into.
MAX_TEXT = 10_000
MAX_RELATIONS = 64

Text = Annotated[str, Field(max_length=MAX_TEXT)]
Words = Annotated[list[Text], Field(min_length=1)]


def _check_relation(value: object) -> object:
    # By hand, because pydantic would report one error for each type of the union.
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise PydanticCustomError(
            "relation", "it must be the name of a relation, a list of names, or null"
        )
    if not 1 <= len(value) <= MAX_RELATIONS:
        raise PydanticCustomError(
            "relation",
            "a list of relations holds 1 to {limit} names, not {count}",
            {"limit": MAX_RELATIONS, "count": len(value)},
        )
    return value


Relation = Annotated[str | list[str] | None, BeforeValidator(_check_relation)]
COMBINE = (
    "How several masks become one: 'union' (default), 'intersection', 'difference' (the first "
    "and none of the others) or 'vote:k' (kept by at least k)."
)


class AppliedMask(Outbound):
    """The mask that an answer was computed under."""

    relations: list[str]
    combine: str
    digest: str = Field(description="Identity of the masked model.")
    sparsity: float = Field(description="Share of the covered weights that were removed.")


class BaseIdentity(Outbound):
    """A base model."""

    name: str
    digest: str = Field(description="sha256 over all its weights.")


def one_or_many(query: type[Inbound], many: str, title: str) -> dict[str, Any]:
    """JSON schema of a body: one question, or an object that holds many under `many`."""
    one = query.model_json_schema()
    several = {
        "title": title,
        "type": "object",
        "additionalProperties": False,
        "required": [many],
        "properties": {many: {"type": "array", "minItems": 1, "items": one}},
    }
    return {"oneOf": [one, several]}
