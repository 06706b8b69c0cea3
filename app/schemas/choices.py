"""`POST /score_choices`."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from app.schemas.common import COMBINE, MAX_RELATIONS, AppliedMask, BaseIdentity, Text
from app.schemas.problem import Problem
from app.schemas.strict import Inbound, Outbound

MAX_CHOICES = 64


def _check_relations(value: object) -> object:
    if value is None:
        return value
    if value == "auto":
        raise PydanticCustomError(
            "relation", "'auto' is not there yet; name the relations, or leave them out"
        )
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise PydanticCustomError("relation", "it must be a list of names of relations, or null")
    if not 1 <= len(value) <= MAX_RELATIONS:
        raise PydanticCustomError(
            "relation",
            "a list of relations holds 1 to {limit} names, not {count}",
            {"limit": MAX_RELATIONS, "count": len(value)},
        )
    return value


class ChoiceQuestion(Inbound):
    """A multiple-choice question: which choice goes best with the context?"""

    context: Text | None = Field(
        None, description="What the choices are about. null scores the choices as they are."
    )
    choices: list[Text] = Field(
        min_length=2, max_length=MAX_CHOICES, description="Two or more texts, all different."
    )
    relations: Annotated[list[str] | None, BeforeValidator(_check_relations)] = Field(
        None,
        description="Relations whose masks are combined. null asks the unmasked model.",
    )
    combine: str | None = Field(None, description=COMBINE)
    masked: bool = Field(
        True, description="false asks the unmasked model in spite of `relations`, to compare."
    )
    scoring: Literal["pll", "pll_l2r", "context", "answer"] | None = Field(
        None,
        description="'pll': every token of context and choice, each masked alone. 'pll_l2r': the "
        "same, later tokens of a word masked too. 'context': the context's tokens given the "
        "choice. 'answer': the choice's tokens given the context. Default: 'context', and "
        "'pll_l2r' without a context.",
    )
    normalize: Literal["none", "token", "char", "pmi"] = Field(
        "none",
        description="'none': the sum of log-probabilities. 'token', 'char': divided by the "
        "scored tokens, or by the characters of their texts. 'pmi': less the score of the scored "
        "texts, each on its own.",
    )
    tokens: bool = Field(False, description="Whether to tell each token's part in the scores.")


class TokenPart(Outbound):
    """A token's part in a score."""

    token: str
    token_id: int
    part: Literal["context", "choice"]
    log_prob: float = Field(description="Natural logarithm of its probability where it is masked.")


class ScoredChoice(Outbound):
    """A choice and how plausible it is."""

    choice: str
    score: float = Field(description="Higher is more plausible.")
    probability: float = Field(description="Softmax of the scores over the choices.")
    tokens: list[TokenPart] | None = Field(description="null unless asked for.")


class ChoiceAnswer(Outbound):
    """The answer to one question."""

    choices: list[ScoredChoice] = Field(description="In the order given.")
    best: int = Field(description="Index of the choice of the highest score; the first of equals.")
    scoring: str
    normalize: str
    mask: AppliedMask | None = Field(description="null: the unmasked model answered.")
    base: BaseIdentity
    context: str | None


class ChoiceResults(Outbound):
    """Answers to many questions, in their order: each an answer, or a problem of its own."""

    results: list[ChoiceAnswer | Problem]
