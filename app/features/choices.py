"""Multiple choice: which choice the model finds most plausible with its context."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.catalogue import Catalogue
from app.errors import FieldFault, PromptRefusedError, RequestError, TooManyRowsError
from app.features.feature import Path, Size
from app.features.specialise import Specialised, identity, specialise
from app.schemas.choices import ChoiceAnswer, ChoiceQuestion, ScoredChoice, TokenPart
from app.validation import parse
from plm import (
    BaseModel,
    ChoicePlan,
    ChoiceScore,
    Probe,
    PromptError,
    Reading,
    RowLimitError,
    plan_choices,
)


@dataclass(frozen=True, eq=False)
class ChoiceTask:
    """A question ready for the model, and what its answer will repeat."""

    source: ChoiceQuestion
    model: Specialised
    plan: ChoicePlan

    @property
    def probes(self) -> Sequence[Probe]:
        """Every masked copy of the texts."""
        return self.plan.probes

    @property
    def size(self) -> Size:
        """The choices, and their tokens where they are asked for."""
        tokens = sum(len(scored.positions) for scored in self.plan.choices)
        return Size(len(self.source.choices) + (tokens if self.source.tokens else 0))

    def advance(self, readings: Sequence[Reading]) -> ChoiceAnswer:
        """The answer that a client gets."""
        found = self.plan.scores(readings)
        scores = np.array([one.score for one in found])
        weights = np.exp(scores - scores.max())
        return ChoiceAnswer(
            choices=[
                ScoredChoice(
                    choice=choice,
                    score=one.score,
                    probability=probability,
                    tokens=_tokens(one) if self.source.tokens else None,
                )
                for choice, one, probability in zip(
                    self.source.choices, found, (weights / weights.sum()).tolist(), strict=True
                )
            ],
            best=int(scores.argmax()),
            scoring=self.plan.scoring,
            normalize=self.plan.normalize,
            mask=self.model.applied(),
            base=identity(self.plan.base),
            context=self.source.context,
        )


class Choices:
    """Scores the choices of a question, with at most so many rows of the model."""

    kind = "score_choices"
    many = "questions"

    def __init__(self, base: BaseModel, max_rows: int) -> None:
        self._base = base
        self._max_rows = max_rows

    def prepare(self, body: object, catalogue: Catalogue, path: Path = ()) -> ChoiceTask:
        """Find the mask, tokenise each choice with its context and mask token after token.

        Raises:
            UnknownRelationError, RefusedRelationError: a relation is not served.
            RequestError: a field cannot be used; the error says which, and what is right.
            TooManyRowsError: the question alone needs more rows than a request may.
        """
        source = parse(ChoiceQuestion, body, path)
        model = specialise(
            catalogue,
            source.relations,
            source.combine,
            masked=source.masked,
            field="relations",
            path=path,
        )
        try:
            plan = plan_choices(
                self._base,
                source.context,
                source.choices,
                model.mask,
                scoring=source.scoring,
                normalize=source.normalize,
                most_rows=self._max_rows,
            )
        except PromptError as error:
            raise _refused(error, path) from error
        except RowLimitError as error:
            raise TooManyRowsError(error.count, self._max_rows) from error
        return ChoiceTask(source, model, plan)


def _refused(error: PromptError, path: Path) -> RequestError:
    """The error as the client sees it: at the text, or at the option that does not go with it."""
    name, _, index = error.field.partition("/")
    where = (*path, name, int(index)) if index else (*path, name)
    faults = (FieldFault(where, error.reason),)
    if name in ("scoring", "normalize"):
        return RequestError(faults)
    return PromptRefusedError(faults)


def _tokens(score: ChoiceScore) -> list[TokenPart]:
    return [
        TokenPart(token=one.token, token_id=one.token_id, part=one.part, log_prob=one.log_prob)
        for one in score.tokens
    ]
