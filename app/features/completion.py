"""Completing sentences: which objects stand where the template leaves a gap."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from app.catalogue import Catalogue
from app.errors import FieldFault, PromptRefusedError, RequestError
from app.features.feature import Path, Size
from app.features.likelihood import calibration_of, judge, not_calibrated, require_calibration
from app.features.specialise import Specialised, identity, specialise, template_of
from app.features.words import Words
from app.schemas.completion import CompletionAnswer, CompletionQuery, CompletionResponse
from app.validation import parse
from masks import Calibration
from plm import (
    BaseModel,
    EncodedPrompt,
    Probe,
    PromptError,
    Reading,
    Template,
    TopTokens,
    encode_prompt,
    ranking,
)
from plm import Completion as Ranked


@dataclass(frozen=True, eq=False)
class CompletionTask:
    """A query ready for the model, and what its answer will repeat."""

    base: BaseModel
    source: CompletionQuery
    model: Specialised
    template: Template
    prompt: EncodedPrompt
    wanted: TopTokens
    calibration: Calibration | None

    @property
    def probes(self) -> Sequence[Probe]:
        """One: the prompt."""
        return (Probe(self.prompt.row, self.model.mask, self.wanted),)

    @property
    def size(self) -> Size:
        """The most completions it can have."""
        targets = self.wanted.targets
        count = self.wanted.count
        return Size(count if targets is None else min(count, len(targets)))

    def advance(self, readings: Sequence[Reading]) -> CompletionAnswer:
        """The answer that a client gets."""
        completions = [
            self._response(completion)
            for completion in ranking(self.base, self.prompt, readings[0])
        ]
        if self.source.likely:
            # Probabilities rank as log-probabilities do.
            completions = list(takewhile(lambda one: one["likely"], completions))
        return CompletionAnswer(
            completions=completions,
            prompt=self.prompt.text,
            template=self.template.text,
            mask=self.model.applied(),
            base=identity(self.base),
            subject=self.source.subject,
            relation=self.source.relation,
        )

    def _response(self, completion: Ranked) -> CompletionResponse:
        probability, likely = judge(self.calibration, completion.log_prob)
        return CompletionResponse(
            object=completion.object,
            score=completion.score,
            log_prob=completion.log_prob,
            probability=probability,
            likely=likely,
            token_id=completion.token_id,
            sequence=completion.sequence,
        )


class Completion:
    """Ranks the objects that complete a sentence."""

    kind = "complete"
    many = "queries"

    def __init__(self, base: BaseModel, words: Words) -> None:
        self._base = base
        self._words = words

    def prepare(self, body: object, catalogue: Catalogue, path: Path = ()) -> CompletionTask:
        """Find the mask, fill the template and tokenise.

        Raises:
            UnknownRelationError, RefusedRelationError: a relation is not served.
            RequestError: a field cannot be used; the error says which, and what is right.
        """
        source = parse(CompletionQuery, body, path)
        model = specialise(
            catalogue, source.relation, source.combine, masked=source.masked, path=path
        )
        template = template_of(catalogue, model.relations, source.template, path)
        try:
            prompt = encode_prompt(self._base, template, source.subject)
        except PromptError as error:
            field = error.field if error.field in ("subject", "template") else "subject"
            raise PromptRefusedError(_fault(path, field, error.reason)) from error
        if source.top_k > self._base.vocab_size:
            detail = (
                f"it must be 1 to {self._base.vocab_size}, the size of the vocabulary, not "
                f"{source.top_k}"
            )
            raise RequestError(_fault(path, "top_k", detail))
        wanted = self._wanted(source, path)
        return CompletionTask(
            base=self._base,
            source=source,
            model=model,
            template=template,
            prompt=prompt,
            wanted=wanted,
            calibration=_calibration(source, model, template, path),
        )

    def _wanted(self, source: CompletionQuery, path: Path) -> TopTokens:
        left_out = tuple(sorted(set(self._words.tokens("filter", source.filter or (), path))))
        among = source.normalize == "targets"
        if source.targets is None:
            if among:
                detail = "there are no targets to normalise over; name some or leave it out"
                raise RequestError(_fault(path, "normalize", detail))
            return TopTokens(source.top_k, source.vocabulary == "words", left_out)
        named = self._words.distinct("targets", source.targets, path)
        targets = tuple(token for token in named if token not in left_out)
        if not targets:
            raise RequestError(
                _fault(path, "filter", "it leaves out every target, so that none is ranked")
            )
        return TopTokens(source.top_k, targets=targets, among_targets=among)


def _calibration(
    source: CompletionQuery, model: Specialised, template: Template, path: Path
) -> Calibration | None:
    """What says how likely an object is true, and must where only likely ones are wanted."""
    if source.normalize == "targets":
        if source.likely:
            raise not_calibrated("probabilities are calibrated over the whole vocabulary", path)
        return None
    if source.likely:
        require_calibration(model, template, path)
    return calibration_of(model, template)


def _fault(path: Path, field: str, detail: str) -> tuple[FieldFault, ...]:
    return (FieldFault((*path, field), detail),)
