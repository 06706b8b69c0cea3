"""`POST /triples/score`."""

from pydantic import Field

from app.schemas.common import COMBINE, AppliedMask, BaseIdentity, Relation, Text
from app.schemas.problem import Problem
from app.schemas.strict import Inbound, Outbound


class TripleQuery(Inbound):
    """One triple: how plausible is it, under the masks of its relations?"""

    subject: Text = Field(description="What the triple is about, of any number of tokens.")
    relation: Relation = Field(
        description="A relation's name, or a list of names whose masks are combined. null asks "
        "the unmasked model, and then needs a template.",
    )
    object: Text = Field(description="What is scored: a word or a phrase.")
    combine: str | None = Field(None, description=COMBINE)
    template: Text | None = Field(
        None,
        description="The sentence, [X] for the subject and [Y] for the object. Default: the first "
        "template of the (first) relation's mask.",
    )
    masked: bool = Field(
        True,
        description="false asks the unmasked model with the relation's template, to compare.",
    )


class ObjectToken(Outbound):
    """One token of the object."""

    token: str
    token_id: int
    log_prob: float = Field(
        description="Natural logarithm of its probability at its mask token, over the whole "
        "vocabulary, all tokens of the object being masked."
    )


class TripleAnswer(Outbound):
    """How plausible a triple is."""

    log_prob: float = Field(description="The mean over the object's tokens.")
    score: float = Field(description="exp(log_prob).")
    tokens: list[ObjectToken]
    probability: float | None = Field(
        description="Calibrated probability that the triple is true; null without calibration."
    )
    likely: bool | None = Field(description="Whether it reaches the threshold.")
    prompt: str = Field(description="The sentence as it was asked, a mask token for each token.")
    template: str
    mask: AppliedMask | None = Field(description="null: the unmasked model answered.")
    base: BaseIdentity
    subject: str
    relation: str | list[str] | None
    object: str


class TripleResults(Outbound):
    """Answers to many triples, in their order: each an answer, or a problem of its own."""

    results: list[TripleAnswer | Problem]
