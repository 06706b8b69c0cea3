"""Ranks given objects, of one or several tokens, at the object's place of a prompt.

An object of L tokens is asked for with L mask tokens. Its score is the mean over them of the
log-probability of its token there (over the whole vocabulary, all L being masked): the likelihood
of the filled masks, normalised by length. For a single token that is its log-probability in the
prompt as it stands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from masks import PackedMask
from plm.base import BaseModel
from plm.cloze import EncodedPrompt
from plm.errors import PromptError
from plm.probe import Probe, Reading, TokenScores

# Each length that occurs among the candidates is one more row for the model.
MAX_OBJECT_TOKENS = 32


@dataclass(frozen=True, eq=False)
class TokenGroup:
    """Candidates of one length: K of them, each of L tokens.

    Attributes:
        places: int64 (K,), ascending, where each stands among all candidates.
        tokens: int32 (L, K), one column for each.
    """

    places: NDArray[np.int64]
    tokens: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Candidates:
    """N objects to be ranked, as tokens; made by `of`.

    Attributes:
        count: N.
        groups: by length, the shortest first.
    """

    count: int
    groups: tuple[TokenGroup, ...]

    @classmethod
    def of(cls, objects: Sequence[tuple[int, ...]]) -> Self:
        """Group objects, each one or more tokens, by length.

        Raises:
            ValueError: there is none, or one has no tokens.
        """
        if not objects or not all(objects):
            raise ValueError("candidates are one or more, of one or more tokens each")
        lengths = np.fromiter(map(len, objects), np.int64, len(objects))
        groups = []
        for length in np.unique(lengths):
            places = np.flatnonzero(lengths == length)
            tokens = np.array([objects[place] for place in places.tolist()], np.int32)
            groups.append(TokenGroup(places, np.ascontiguousarray(tokens.T)))
        return cls(len(objects), tuple(groups))


def candidate_probes(
    base: BaseModel, prompt: EncodedPrompt, mask: PackedMask | None, candidates: Candidates
) -> tuple[Probe, ...]:
    """What the model is asked to score candidates: one row for each length among them.

    Raises:
        PromptError: with the longest candidate the prompt is longer than the model reads.
    """
    longest = len(candidates.groups[-1].tokens)
    length = len(prompt.input_ids) - 1 + longest
    if length > base.max_length:
        raise PromptError(
            "subject",
            f"with an object of {longest} tokens the prompt is {length} tokens long; {base.name} "
            f"reads at most {base.max_length}",
        )
    return tuple(
        Probe(prompt.widened(len(group.tokens)).row, mask, TokenScores(group.tokens))
        for group in candidates.groups
    )


def candidate_scores(candidates: Candidates, readings: Sequence[Reading]) -> NDArray[np.float64]:
    """Score (N,) of each candidate, from the readings of `candidate_probes`."""
    scores = np.empty(candidates.count)
    for group, reading in zip(candidates.groups, readings, strict=True):
        scores[group.places] = reading.log_probs.mean(axis=0, dtype=np.float64)
    return scores
