"""Scoring triples: how plausible a subject, a relation and an object are together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from app.catalogue import Catalogue
from app.errors import FieldFault, RequestError
from app.features.feature import Path, Size
from app.features.likelihood import calibration_of, judge
from app.features.prompting import encode_end, prompt_refused, triple_template
from app.features.specialise import Specialised, identity, specialise
from app.schemas.triples import ObjectToken, TripleAnswer, TripleQuery
from app.validation import parse
from masks import Calibration
from plm import (
    MAX_OBJECT_TOKENS,
    BaseModel,
    Candidates,
    EncodedPrompt,
    ObjectError,
    Probe,
    PromptError,
    Reading,
    Template,
    candidate_probes,
    candidate_scores,
    object_text,
    tokenise_objects,
)


@dataclass(frozen=True, eq=False)
class TripleTask:
    """A triple ready for the model: its object is the only candidate."""

    base: BaseModel
    source: TripleQuery
    model: Specialised
    template: Template
    prompt: EncodedPrompt
    tokens: tuple[int, ...]
    calibration: Calibration | None
    probes: Sequence[Probe]

    @property
    def size(self) -> Size:
        """One score."""
        return Size(1)

    def advance(self, readings: Sequence[Reading]) -> TripleAnswer:
        """The answer that a client gets."""
        log_prob = float(candidate_scores(Candidates.of([self.tokens]), readings)[0])
        probability, likely = judge(self.calibration, log_prob)
        mask_token = self.base.mask_token
        return TripleAnswer(
            log_prob=log_prob,
            score=math.exp(log_prob),
            tokens=[
                ObjectToken(token=object_text(self.base, token), token_id=token, log_prob=value)
                for token, value in zip(
                    self.tokens, readings[0].log_probs[:, 0].tolist(), strict=True
                )
            ],
            probability=probability,
            likely=likely,
            prompt=self.prompt.with_object(" ".join([mask_token] * len(self.tokens)), mask_token),
            template=self.template.text,
            mask=self.model.applied(),
            base=identity(self.base),
            subject=self.source.subject,
            relation=self.source.relation,
            object=self.source.object,
        )


class Triples:
    """Scores triples."""

    kind = "score_triple"
    many = "triples"

    def __init__(self, base: BaseModel) -> None:
        self._base = base

    def prepare(self, body: object, catalogue: Catalogue, path: Path = ()) -> TripleTask:
        """Find the mask, fill the template and tokenise.

        Raises:
            UnknownRelationError, RefusedRelationError: a relation is not served.
            RequestError: a field cannot be used; the error says which, and what is right.
        """
        source = parse(TripleQuery, body, path)
        model = specialise(
            catalogue, source.relation, source.combine, masked=source.masked, path=path
        )
        template = triple_template(catalogue, model.relations, source.template, path)
        prompt = encode_end(self._base, template, "object", source.subject, path)
        (tokens,) = tokenise_objects(self._base, [source.object], most=MAX_OBJECT_TOKENS)
        if isinstance(tokens, ObjectError):
            raise RequestError((FieldFault((*path, "object"), str(tokens)),))
        try:
            probes = candidate_probes(self._base, prompt, model.mask, Candidates.of([tokens]))
        except PromptError as error:
            raise prompt_refused(error, "object", path) from error
        calibration = calibration_of(model, template)
        return TripleTask(self._base, source, model, template, prompt, tokens, calibration, probes)
