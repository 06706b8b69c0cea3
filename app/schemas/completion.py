"""`POST /complete`."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from app.schemas.common import COMBINE, AppliedMask, BaseIdentity, Relation, Text, Words
from app.schemas.problem import Problem
from app.schemas.strict import Inbound, Outbound


class CompletionQuery(Inbound):
    """One question: which objects complete the sentence, under the masks of the relations."""

    subject: Text | None = Field(
        None,
        description="What the question is about. Left out where the template has no [X].",
    )
    relation: Relation = Field(
        description="A relation's name, or a list of names whose masks are combined. null asks "
        "the unmasked model, and then needs a template.",
    )
    combine: str | None = Field(None, description=COMBINE)
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
    normalize: Literal["vocabulary", "targets"] = Field(
        "vocabulary",
        description="What scores are probabilities over: the whole vocabulary (default), or the "
        "targets alone, which is also cheaper.",
    )
    masked: bool = Field(
        True,
        description="false asks the unmasked model with the relation's template, to compare.",
    )
    likely: bool = Field(
        False,
        description="true returns only completions that are likely true: from the threshold of "
        "the relation's calibration.",
    )


# A dictionary and no model: an answer holds many, and a model takes four times as long to make.
class CompletionResponse(TypedDict):
    """An object that completes the sentence."""

    object: Annotated[str, Field(description="The object as a reader sees it.")]
    score: Annotated[
        float,
        Field(
            description="Softmax probability over the whole vocabulary, or over the targets where "
            "asked for."
        ),
    ]
    log_prob: Annotated[float, Field(description="Its natural logarithm.")]
    probability: Annotated[
        float | None,
        Field(
            description="Calibrated probability that the object is true; null without calibration."
        ),
    ]
    likely: Annotated[bool | None, Field(description="Whether it reaches the threshold.")]
    token_id: Annotated[int, Field(description="The object's token.")]
    sequence: Annotated[str, Field(description="The sentence with the object in its place.")]


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
