"""A question for links on its way through the model: from scores to ranked triples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from app.features.candidates import CandidateSet
from app.features.feature import Size
from app.features.likelihood import judge
from app.features.ranks import Rank, best_places, rank_of
from app.features.specialise import Specialised, identity
from app.schemas.links import Link, LinkAnswer, LinkQuery, TruthRank
from masks import Calibration
from plm import (
    BaseModel,
    EncodedPrompt,
    Probe,
    Reading,
    Template,
    TopTokens,
    candidate_scores,
    object_text,
)


@dataclass(frozen=True, eq=False)
class LinkTask:
    """A query ready for the model.

    Attributes:
        among: the candidates.
        hidden: places of candidates that the list leaves out as known.
        known: places of candidates that ranks leave out.
        truths: places of the truths.
        calibration: None where nothing says how likely a link is true.
        probes: the prompt with `TopTokens` where the vocabulary is only listed, else with the
            candidates of each length.
    """

    base: BaseModel
    source: LinkQuery
    model: Specialised
    template: Template
    prompt: EncodedPrompt
    among: CandidateSet
    hidden: tuple[int, ...]
    known: tuple[int, ...]
    truths: tuple[int, ...]
    calibration: Calibration | None
    probes: Sequence[Probe]

    @property
    def size(self) -> Size:
        """The most links that it can have, and its ranks."""
        return Size(
            min(self.source.top_k, len(self.among)) + len(self.truths),
            candidates=0 if self._listed else len(self.among),
        )

    def advance(self, readings: Sequence[Reading]) -> LinkAnswer:
        """The answer that a client gets."""
        source = self.source
        ranks: list[TruthRank] | None = None
        if self._listed:
            best = _best_of_vocabulary(self.base, readings[0])
        else:
            scores = candidate_scores(self.among.tokens, readings)
            best = [
                (self.among.texts[place], float(scores[place]))
                for place in best_places(scores, source.top_k, self.hidden)
            ]
            if source.truth is not None:
                ranks = self._ranks(scores)
        links = [self._link(text, log_prob) for text, log_prob in best]
        if source.likely:
            # Probabilities rank as log-probabilities do.
            links = list(takewhile(lambda link: link.likely, links))
        return LinkAnswer(
            links=links,
            ranks=ranks,
            candidates=len(self.among),
            filtered=len(self.hidden),
            left_out=self.among.left_out,
            prompt=self.prompt.text,
            template=self.template.text,
            mask=self.model.applied(),
            base=identity(self.base),
            subject=source.subject,
            relation=source.relation,
            object=source.object,
        )

    @property
    def _listed(self) -> bool:
        return isinstance(self.probes[0].wanted, TopTokens)

    def _link(self, text: str, log_prob: float) -> Link:
        source = self.source
        probability, likely = judge(self.calibration, log_prob)
        return Link(
            subject=text if source.subject is None else source.subject,
            relation=source.relation,
            object=text if source.object is None else source.object,
            log_prob=log_prob,
            score=math.exp(log_prob),
            probability=probability,
            likely=likely,
        )

    def _ranks(self, scores: NDArray[np.float64]) -> list[TruthRank]:
        competing = np.ones(len(scores), np.bool_)
        if self.source.filter is not False:
            # What is true too is no mistake: the filtered setting of Bordes et al. (2013).
            competing[[*self.known, *self.truths]] = False
        ranks = []
        for place in self.truths:
            rank = rank_of(scores, place, competing)
            others = int(competing.sum()) - int(competing[place])
            ranks.append(_truth_rank(self.among.texts[place], rank, float(scores[place]), others))
        return ranks


def _best_of_vocabulary(base: BaseModel, reading: Reading) -> list[tuple[str, float]]:
    assert reading.token_ids is not None
    texts = [object_text(base, token) for token in reading.token_ids.tolist()]
    return list(zip(texts, reading.log_probs.tolist(), strict=True))


def _truth_rank(text: str, rank: Rank, log_prob: float, others: int) -> TruthRank:
    return TruthRank(
        truth=text,
        rank=rank.realistic,
        reciprocal_rank=rank.reciprocal,
        hits_at_1=rank.hits_at(1),
        hits_at_3=rank.hits_at(3),
        hits_at_10=rank.hits_at(10),
        log_prob=log_prob,
        competing=others + 1,
    )
