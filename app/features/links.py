"""Predicting links: which objects, or subjects, stand at the other end of a relation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.catalogue import Catalogue
from app.errors import FieldFault, RequestError
from app.features.candidates import CandidateSet, CandidateSets
from app.features.feature import Path
from app.features.likelihood import calibration_of, not_calibrated, require_calibration
from app.features.link_task import LinkTask
from app.features.prompting import encode_end, prompt_refused, triple_template
from app.features.specialise import Specialised, specialise
from app.knowledge import Knowledge, Role
from app.schemas.links import (
    KnowledgeCandidates,
    LinkAnswer,
    LinkMetrics,
    LinkQuery,
    LinkSummary,
)
from app.schemas.strict import Outbound
from app.validation import parse
from masks import Calibration
from plm import (
    BaseModel,
    EncodedPrompt,
    Probe,
    PromptError,
    Template,
    TopTokens,
    candidate_probes,
)


@dataclass(frozen=True, eq=False)
class _Question:
    """A query whose masks were found.

    Attributes:
        source: as it was asked.
        path: where it stands in the request.
        asked: the end whose candidates are ranked.
        given: what stands at the other end.
        model: the model that it is put to.
        template: with a place for either end.
    """

    source: LinkQuery
    path: Path
    asked: Role
    given: str
    model: Specialised
    template: Template

    def fault(self, detail: str, *where: str | int) -> FieldFault:
        """What is wrong with one of its fields."""
        return FieldFault((*self.path, *where), detail)


class Links:
    """Ranks candidates for one end of a relation."""

    kind = "predict_links"
    many = "queries"

    def __init__(self, base: BaseModel, sets: CandidateSets, knowledge: Knowledge) -> None:
        self._base = base
        self._sets = sets
        self._knowledge = knowledge

    def prepare(self, body: object, catalogue: Catalogue, path: Path = ()) -> LinkTask:
        """Find mask and candidates, fill the template and tokenise.

        Raises:
            UnknownRelationError, RefusedRelationError: a relation is not served.
            UnknownKnowledgeError: candidates of a knowledge base that is not loaded.
            RequestError: a field cannot be used; the error says which, and what is right.
        """
        source = parse(LinkQuery, body, path)
        asked, given = _ends(source, path)
        model = specialise(
            catalogue, source.relation, source.combine, masked=source.masked, path=path
        )
        template = triple_template(catalogue, model.relations, source.template, path)
        question = _Question(source, path, asked, given, model, template)
        calibration = _calibration(question)
        prompt = encode_end(self._base, template, asked, given, path)
        among = self._among(question)
        truths = self._truths(question, among)
        known: tuple[int, ...] = ()
        if source.filter is not False and (truths or source.filter is not None):
            known = self._known_places(question, among)
        hidden = known if source.filter is not None else ()
        return LinkTask(
            base=self._base,
            source=source,
            model=model,
            template=template,
            prompt=prompt,
            among=among,
            hidden=hidden,
            known=known,
            truths=truths,
            calibration=calibration,
            probes=self._probes(question, prompt, among, hidden),
        )

    def summary(self, answers: Sequence[Outbound | Exception]) -> LinkSummary | None:
        """Mean ranks of all truths; None where there is none."""
        ranks = [rank for one in answers if isinstance(one, LinkAnswer) for rank in one.ranks or ()]
        if not ranks:
            return None
        return LinkSummary(
            metrics=LinkMetrics(
                truths=len(ranks),
                mean_rank=float(np.mean([rank.rank for rank in ranks])),
                mrr=float(np.mean([rank.reciprocal_rank for rank in ranks])),
                hits_at_1=float(np.mean([rank.hits_at_1 for rank in ranks])),
                hits_at_3=float(np.mean([rank.hits_at_3 for rank in ranks])),
                hits_at_10=float(np.mean([rank.hits_at_10 for rank in ranks])),
            )
        )

    def _among(self, question: _Question) -> CandidateSet:
        candidates = question.source.candidates
        if candidates == "vocabulary":
            return self._sets.vocabulary
        if isinstance(candidates, dict):
            return self._of_knowledge(question, candidates)
        if not candidates:
            detail = "it is empty; name at least one candidate"
            raise RequestError((question.fault(detail, "candidates"),))
        found = self._sets.given(tuple(candidates))
        if isinstance(found, CandidateSet):
            return found
        raise RequestError(
            tuple(question.fault(one.reason, "candidates", one.index) for one in found)
        )

    def _of_knowledge(self, question: _Question, given: dict[str, object]) -> CandidateSet:
        wanted = parse(KnowledgeCandidates, given, (*question.path, "candidates"))
        base = self._knowledge.find(wanted.knowledge)
        relations = () if wanted.all else question.model.relations
        if not relations and not wanted.all:
            detail = 'without a relation all entities must be ranked: add "all": true'
            raise RequestError((question.fault(detail, "candidates"),))
        found = self._sets.known(base, relations, question.asked)
        if found is None:
            detail = _no_candidates(base.name, question.asked, relations)
            raise RequestError((question.fault(detail, "candidates"),))
        return found

    def _truths(self, question: _Question, among: CandidateSet) -> tuple[int, ...]:
        truth = question.source.truth
        places: list[int] = []
        faults: list[FieldFault] = []
        for index, text in enumerate([truth] if isinstance(truth, str) else truth or ()):
            where = ("truth",) if isinstance(truth, str) else ("truth", index)
            found = among.find(text, self._sets.tokens_of(text))
            if not found:
                faults.append(question.fault(_not_among(question, text, among), *where))
            elif found[0] in places:
                detail = f"{among.texts[found[0]]!r:.80} is named twice; name it once"
                faults.append(question.fault(detail, *where))
            else:
                places.append(found[0])
        if faults:
            raise RequestError(tuple(faults))
        return tuple(places)

    def _known_places(self, question: _Question, among: CandidateSet) -> tuple[int, ...]:
        """Places of the candidates that are known to be true."""
        given, relations = question.source.filter, question.model.relations
        if given is True and not (self._knowledge and relations):
            missing = "relation" if self._knowledge else "knowledge base (RELATA_KNOWLEDGE)"
            detail = f"without a {missing} nothing is known; list what is to be left out instead"
            raise RequestError((question.fault(detail, "filter"),))
        texts = list(given) if isinstance(given, list) else []
        blank = [index for index, text in enumerate(texts) if not text.strip()]
        if blank:
            detail = "it is blank; name what is known, or leave it out"
            raise RequestError(tuple(question.fault(detail, "filter", index) for index in blank))
        texts.extend(self._knowledge.known(question.asked, relations, question.given))
        places = (among.find(text, self._sets.tokens_of(text)) for text in texts)
        return tuple(sorted({place for found in places for place in found}))

    def _probes(
        self,
        question: _Question,
        prompt: EncodedPrompt,
        among: CandidateSet,
        hidden: tuple[int, ...],
    ) -> tuple[Probe, ...]:
        source, mask = question.source, question.model.mask
        if source.candidates == "vocabulary" and source.truth is None:
            # Scores of all words are not needed to list the best.
            tokens = tuple(among.objects[place][0] for place in hidden)
            wanted = TopTokens(min(source.top_k, len(among)), words=True, excluded=tokens)
            return (Probe(prompt.row, mask, wanted),)
        try:
            return candidate_probes(self._base, prompt, mask, among.tokens)
        except PromptError as error:
            raise prompt_refused(error, question.asked, question.path) from error


def _ends(source: LinkQuery, path: Path) -> tuple[Role, str]:
    """The end that is asked for, and what stands at the other one."""
    match source.subject, source.object:
        case str(subject), None:
            return "object", subject
        case None, str(object_):
            return "subject", object_
        case None, None:
            field, wrong = "subject", "neither subject nor object is given"
        case _:
            field, wrong = "object", "subject and object are both given"
    detail = (
        f"{wrong}; give the subject to rank objects, or the object to rank subjects "
        f"(/triples/score takes both)"
    )
    raise RequestError((FieldFault((*path, field), detail),))


def _calibration(question: _Question) -> Calibration | None:
    """What says how likely a link is true, and must where only likely ones are wanted."""
    wanted = question.source.likely
    if question.asked == "subject":
        if wanted:
            raise not_calibrated("probabilities are calibrated for objects", question.path)
        return None
    if wanted:
        require_calibration(question.model, question.template, question.path)
    return calibration_of(question.model, question.template)


def _no_candidates(name: str, asked: Role, relations: tuple[str, ...]) -> str:
    if not relations:
        return f"knowledge base {name} has no entity that the base can be asked for"
    return (
        f"knowledge base {name} has no {asked} of {' or '.join(relations)} that the base can be "
        f'asked for; add "all": true to rank all its entities'
    )


def _not_among(question: _Question, text: str, among: CandidateSet) -> str:
    if question.source.candidates == "vocabulary":
        return (
            f"{text!r:.80} is not one of the vocabulary's whole words, which are the candidates; "
            f"name candidates to rank phrases"
        )
    return f"{text!r:.80} is not among the {len(among)} candidates; add it or leave it out"
