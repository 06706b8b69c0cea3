"""`POST /paths`."""

from typing import Annotated

from pydantic import Field

from app.schemas.common import COMBINE, AppliedMask, BaseIdentity, Relation, Text
from app.schemas.problem import Problem
from app.schemas.strict import Inbound, Outbound

MAX_BEAM = 100


class PathQuery(Inbound):
    """One question: what is several relations away from the subject?"""

    subject: Text = Field(description="Where the paths start.")
    relations: Annotated[list[Relation], Field(min_length=2, max_length=4)] = Field(
        description="One for each hop, 2 to 4: a relation's name, or a list of names whose masks "
        "are combined. null asks the unmasked model, and then needs a template.",
    )
    combine: str | None = Field(
        None, description=COMBINE + " It holds for the hops that name a list."
    )
    beam: int = Field(
        10,
        ge=1,
        le=MAX_BEAM,
        description="How many paths go on after each hop, and by how many objects each goes on.",
    )
    top_k: int = Field(10, ge=1, description="How many paths, and how many objects, to return.")
    templates: Annotated[list[Text | None], Field(min_length=2, max_length=4)] | None = Field(
        None,
        description="A sentence for each hop, or null for its default: the first template of its "
        "(first) relation's mask.",
    )
    masked: bool = Field(
        True,
        description="false asks the unmasked model with the relations' templates, to compare.",
    )


class PathHop(Outbound):
    """One step of a path."""

    subject: str
    relation: str | list[str] | None
    object: str
    log_prob: float = Field(description="Natural logarithm of the score.")
    score: float = Field(description="Softmax probability over the whole vocabulary.")
    probability: float | None = Field(
        description="Calibrated probability that the hop is true; null without calibration."
    )
    prompt: str


class RelationPath(Outbound):
    """A path from the subject to an object."""

    object: str = Field(description="Where it ends.")
    log_prob: float = Field(description="The sum over its hops.")
    score: float = Field(description="The product over its hops.")
    hops: list[PathHop]


class PathObject(Outbound):
    """An object at the end of paths."""

    object: str
    score: float = Field(description="Sum of the scores of the paths that end in it.")
    log_prob: float = Field(description="Its natural logarithm.")
    paths: int = Field(description="How many paths that were found end in it.")


class HopModel(Outbound):
    """What a hop was asked with."""

    relation: str | list[str] | None
    template: str
    mask: AppliedMask | None = Field(description="null: the unmasked model answered.")


class PathAnswer(Outbound):
    """The answer to one query."""

    paths: list[RelationPath] = Field(description="The most likely first.")
    objects: list[PathObject] = Field(
        description="The objects that all paths found end in, the most likely first."
    )
    found: int = Field(description="How many paths were found.")
    hops: list[HopModel]
    base: BaseIdentity
    subject: str


class PathResults(Outbound):
    """Answers to many queries, in their order: each an answer, or a problem of its own."""

    results: list[PathAnswer | Problem]
