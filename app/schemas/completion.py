"""`POST /complete`."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from app.schemas.problem import Problem
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


class CompletionQuery(Inbound):
    """One question: which objects complete the sentence, under the masks of the relations."""

    subject: Text | None = Field(
        None,
        description="What the question is about. Left out where the template has no [X].",
    )
    relation: Annotated[str | list[str] | None, BeforeValidator(_check_relation)] = Field(
        description="A relation's name, or a list of names whose masks are combined. null asks "
        "the unmasked model, and then needs a template.",
    )
    combine: str | None = Field(
        None,
        description="How several masks become one: 'union' (default), 'intersection', "
        "'difference' (the first and none of the others) or 'vote:k' (kept by at least k).",
    )
    top_k: int = Field(
        10, ge=1, description="How many completions to return, up to the size of the vocabulary."
    )
    template: Text | None = Field(
        None,
        description="The sentence, [X] for the subject and [Y] for the object. Default: the first "
        "template of the (first) relation's mask.",
    )
    targets: Words | None = Field(
        None,
        description="Rank only these words. Each must be exactly one token of the base model.",
    )
    filter: Words | None = Field(
        None,
        description="Objects to leave out of the ranking, e.g. those already known to be true.",
    )
    vocabulary: Literal["words", "all"] = Field(
        "words",
        description="What is ranked without targets: whole words (default), or all tokens of the "
        "vocabulary, pieces and punctuation among them.",
    )
    masked: bool = Field(
        True,
        description="false asks the unmasked model with the relation's template, to compare.",
    )


class CompletionResponse(Outbound):
    """An object that completes the sentence."""

    object: str = Field(description="The object as a reader sees it.")
    score: float = Field(description="Softmax probability over the whole vocabulary.")
    log_prob: float = Field(description="Its natural logarithm.")
    token_id: int = Field(description="The object's token.")
    sequence: str = Field(description="The sentence with the object in its place.")


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


class CompletionAnswer(Outbound):
    """The answer to one query."""

    completions: list[CompletionResponse] = Field(description="The most likely first.")
    prompt: str = Field(description="The sentence as it was asked, with the mask token.")
    template: str
    mask: AppliedMask | None = Field(description="null: the unmasked model answered.")
    base: BaseIdentity
    subject: str | None
    relation: str | list[str] | None


class CompletionResults(Outbound):
    """Answers to many queries, in their order: each an answer, or a problem of its own."""

    results: list[CompletionAnswer | Problem]


def request_schema() -> dict[str, Any]:
    """JSON schema of the body: one query, or an object that holds many."""
    query = CompletionQuery.model_json_schema()
    many = {
        "title": "CompletionQueries",
        "type": "object",
        "additionalProperties": False,
        "required": ["queries"],
        "properties": {"queries": {"type": "array", "minItems": 1, "items": query}},
    }
    return {"oneOf": [query, many]}
