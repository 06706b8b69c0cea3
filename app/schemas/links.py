"""`POST /predict_links`."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.schemas.common import COMBINE, AppliedMask, BaseIdentity, Relation, Text
from app.schemas.problem import Problem
from app.schemas.strict import Inbound, Outbound


class KnowledgeCandidates(Inbound):
    """The entities of a knowledge base as candidates."""

    knowledge: str = Field(description="Name of a loaded knowledge base.")
    all: bool = Field(
        False,
        description="All its entities; by default only those that it has at this end of the "
        "relation.",
    )


def _texts(value: object, single: str) -> list[str] | None:
    """A list of strings as it is; None: the value is no list.

    Checked by hand, because pydantic would report one error for each type of the union.
    """
    if not isinstance(value, list):
        return None
    for number, text in enumerate(value, start=1):
        if not isinstance(text, str):
            raise PydanticCustomError(
                "sentence", f"it must be {single}; item {number} of the list is no string"
            )
    return value


def _check_candidates(value: object) -> object:
    right = "'vocabulary', a list of strings, or an object with the name of a knowledge base"
    if value == "vocabulary" or isinstance(value, dict) or _texts(value, right) is not None:
        return value
    raise PydanticCustomError("sentence", f"it must be {right}")


def _check_filter(value: object) -> object:
    right = "true, false, or a list of strings"
    if value is None or isinstance(value, bool) or _texts(value, right) is not None:
        return value
    raise PydanticCustomError("sentence", f"it must be {right}")


def _check_truth(value: object) -> object:
    right = "a string or a list of strings"
    if value is None or isinstance(value, str) or _texts(value, right):
        return value
    raise PydanticCustomError("sentence", f"it must be {right}, one at least")


_STRINGS: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
_CANDIDATES = {
    "anyOf": [
        {"const": "vocabulary"},
        _STRINGS | {"minItems": 1},
        KnowledgeCandidates.model_json_schema(),
    ]
}

# A dict is looked into by whoever knows the knowledge bases.
Candidates = Annotated[
    Literal["vocabulary"] | list[str] | dict[str, Any],
    BeforeValidator(_check_candidates),
    WithJsonSchema(_CANDIDATES),
]
Filter = Annotated[
    bool | list[str] | None,
    BeforeValidator(_check_filter),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, _STRINGS, {"type": "null"}]}),
]
Truth = Annotated[
    str | list[str] | None,
    BeforeValidator(_check_truth),
    WithJsonSchema({"anyOf": [{"type": "string"}, _STRINGS | {"minItems": 1}, {"type": "null"}]}),
]


class LinkQuery(Inbound):
    """One question: what stands at the other end of a relation? One end must be given."""

    subject: Text | None = Field(None, description="Given to rank objects: <subject, relation, ?>.")
    object: Text | None = Field(None, description="Given to rank subjects: <?, relation, object>.")
    relation: Relation = Field(
        description="A relation's name, or a list of names whose masks are combined. null asks "
        "the unmasked model, and then needs a template.",
    )
    combine: str | None = Field(None, description=COMBINE)
    candidates: Candidates = Field(
        "vocabulary",
        description="What is ranked: whole words of the vocabulary (default), the strings of a "
        "list, or the entities of a knowledge base. Those of several tokens score the mean "
        "log-probability over as many mask tokens.",
    )
    filter: Filter = Field(
        None,
        description="true leaves out of the list what loaded knowledge bases know to be true; a "
        "list of strings leaves these out besides. Ranks of the truth always leave out what is "
        "known, unless false.",
    )
    truth: Truth = Field(
        None, description="What is true: its realistic rank among the candidates is told."
    )
    top_k: int = Field(10, ge=1, description="How many links to return.")
    template: Text | None = Field(
        None,
        description="The sentence, [X] for the subject and [Y] for the object. Default: the first "
        "template of the (first) relation's mask.",
    )
    masked: bool = Field(
        True,
        description="false asks the unmasked model with the relation's template, to compare.",
    )
    likely: bool = Field(
        False,
        description="true returns only links that are likely true: from the threshold of the "
        "relation's calibration.",
    )


class Link(Outbound):
    """A triple that was ranked."""

    subject: str
    relation: str | list[str] | None
    object: str
    log_prob: float = Field(
        description="Natural logarithm of the probability of what was ranked, over the whole "
        "vocabulary; of several tokens the mean over them."
    )
    score: float = Field(description="exp(log_prob).")
    probability: float | None = Field(
        description="Calibrated probability that the triple is true; null without calibration."
    )
    likely: bool | None = Field(description="Whether it reaches the threshold.")


class TruthRank(Outbound):
    """Where the truth stands among the candidates."""

    truth: str
    rank: float = Field(description="Realistic rank from 1: the mean over ties.")
    reciprocal_rank: float
    hits_at_1: float = Field(description="0 or 1, or the chance of it where ties reach over it.")
    hits_at_3: float
    hits_at_10: float
    log_prob: float
    competing: int = Field(description="How many candidates it was ranked among, with itself.")


class LinkAnswer(Outbound):
    """The answer to one query."""

    links: list[Link] = Field(description="The most likely first.")
    ranks: list[TruthRank] | None = Field(description="One for each truth; null without.")
    candidates: int = Field(description="How many candidates there are.")
    filtered: int = Field(description="How many of them the list leaves out as known.")
    left_out: int = Field(
        description="How many entities of the knowledge base the base cannot be asked for."
    )
    prompt: str = Field(description="The sentence as it was asked, with one mask token.")
    template: str
    mask: AppliedMask | None = Field(description="null: the unmasked model answered.")
    base: BaseIdentity
    subject: str | None
    relation: str | list[str] | None
    object: str | None


class LinkMetrics(Outbound):
    """Means over every truth of every query that was answered."""

    truths: int = Field(description="How many they are.")
    mean_rank: float
    mrr: float = Field(description="Mean reciprocal rank.")
    hits_at_1: float
    hits_at_3: float
    hits_at_10: float


class LinkSummary(Outbound):
    """What stands beside the results of many queries that name the truth."""

    metrics: LinkMetrics


class LinkResults(Outbound):
    """Answers to many queries, in their order: each an answer, or a problem of its own."""

    results: list[LinkAnswer | Problem]
    metrics: LinkMetrics | None = Field(
        None, description="Left out where no answered query names the truth."
    )
