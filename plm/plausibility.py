"""How plausible a masked LM finds a text, or a choice given a context: pseudo-log-likelihoods.

A pseudo-log-likelihood masks each scored token in turn and adds the log-probabilities of the
tokens that stood there (Salazar et al. 2020, arXiv:1910.14659). With `within_word` the later tokens
of the same word are masked too, which does not let a word's own pieces give it away (Kauf & Ivanova
2023, arXiv:2305.10588).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from masks import PackedMask
from plm.base import BaseModel
from plm.pair import EncodedText
from plm.probe import Probe, Reading, TokenScores
from plm.rows import EncodedRow


@dataclass(frozen=True)
class Scored:
    """A text and which of its tokens are scored; N of them.

    Attributes:
        text: the text.
        positions: (N,) of the tokens scored, ascending.
        within_word: whether a token's own word is masked from there on.
    """

    text: EncodedText
    positions: tuple[int, ...]
    within_word: bool

    def masked(self, position: int) -> tuple[int, ...]:
        """What is masked to score the token at a position: that, and later tokens of its word."""
        if not self.within_word:
            return (position,)
        words = self.text.words
        end = position + 1
        # The tokens of a word stand side by side.
        while end < len(words) and words[end] is not None and words[end] == words[position]:
            end += 1
        return tuple(range(position, end))


@dataclass(frozen=True, eq=False)
class ScoringPlan:
    """What the model is asked to score several texts; made by `plan_scores`.

    The same masked row is asked once, for all tokens that stood at its slot: choices of one token
    under one context are a single row.

    Attributes:
        probes: what the model is asked.
        places: for each text (N, 2), the probe and the column of its reading with each token's
            log-probability.
    """

    probes: tuple[Probe, ...]
    places: tuple[NDArray[np.int64], ...]

    def log_probs(self, readings: Sequence[Reading]) -> list[NDArray[np.float32]]:
        """The log-probabilities (N,) of each text's scored tokens."""
        return [
            np.array(
                [readings[probe].log_probs[0, column] for probe, column in places.tolist()],
                np.float32,
            )
            for places in self.places
        ]


@dataclass(eq=False)
class _Asked:
    """A masked row, and the tokens wanted at its slot."""

    probe: int
    columns: dict[int, int] = field(default_factory=dict)


def plan_scores(
    base: BaseModel, texts: Sequence[Scored], mask: PackedMask | None = None
) -> ScoringPlan:
    """Plan the probes that score texts under one mask set; None is the unmasked model."""
    asked: dict[EncodedRow, _Asked] = {}
    places = []
    for scored in texts:
        found = []
        for position in scored.positions:
            row = scored.text.masked(scored.masked(position), position, base.mask_token_id)
            one = asked.setdefault(row, _Asked(len(asked)))
            token = scored.text.input_ids[position]
            found.append((one.probe, one.columns.setdefault(token, len(one.columns))))
        places.append(np.array(found, np.int64).reshape(-1, 2))
    probes = tuple(
        Probe(row, mask, TokenScores(np.array([list(one.columns)], np.int32)))
        for row, one in asked.items()
    )
    return ScoringPlan(probes, tuple(places))
