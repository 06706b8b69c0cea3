"""The choices that the model takes under a union of masks, for all questions at once."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from masks import RelationMask, combine_masks
from plm import (
    DEFAULT_KEPT_BYTES,
    BaseModel,
    ChoicePlan,
    EncodedRow,
    RepeatedRows,
    TokenScores,
)
from training.unions.search import Union


class UnionScorer:
    """Answers all questions under one union after another.

    Each distinct row goes through the embeddings and the unmasked layers once for all unions.
    """

    def __init__(
        self,
        base: BaseModel,
        masks: Mapping[str, RelationMask],
        plans: Sequence[ChoicePlan],
        *,
        kept_bytes: int = DEFAULT_KEPT_BYTES,
    ) -> None:
        """Run what all unions share.

        Args:
            base: the base.
            masks: by relation, one or more.
            plans: of the questions, one or more.
            kept_bytes: most bytes of states that are kept.
        """
        self._masks = masks
        sums = _Sums(plans)
        self._sums = sums
        first = min(mask.metadata.layers[0] for mask in masks.values())
        pairs = np.array(list(sums.pairs), np.int64)
        self._rows = RepeatedRows(base, list(sums.rows), pairs, first, kept_bytes=kept_bytes)

    @property
    def row_count(self) -> int:
        """Distinct rows that the model is asked."""
        return len(self._sums.rows)

    @property
    def tokens(self) -> int:
        """Tokens of these rows."""
        return self._rows.tokens

    def scores(self, union: Union) -> list[NDArray[np.float64]]:
        """The scores of each question's choices under a union; the empty one is no mask.

        Raises:
            MaskMismatchError: the masks cannot be united, or do not fit the base.
        """
        mask = combine_masks([self._masks[name] for name in union]) if union else None
        return self._sums.of(self._rows.log_probs(mask))

    def best(self, union: Union) -> NDArray[np.int64]:
        """The choice of the highest score of each question, (Q,), the first of equals.

        Raises:
            MaskMismatchError: as `scores` does.
        """
        return np.array([int(scores.argmax()) for scores in self.scores(union)], np.int64)


class _Sums:
    """The choices' scores as weighted sums over what is asked.

    Attributes:
        rows: each distinct row, with its number.
        pairs: each distinct (row number, token), with its place.
    """

    def __init__(self, plans: Sequence[ChoicePlan]) -> None:
        self.rows: dict[EncodedRow, int] = {}
        self.pairs: dict[tuple[int, int], int] = {}
        places: list[int] = []
        weights: list[NDArray[np.float64]] = []
        lengths: list[int] = []
        for plan in plans:
            for terms in plan.terms():
                places += [self._place(plan, *place) for place in terms.places.tolist()]
                weights.append(terms.weights)
                lengths.append(len(terms.weights))
        self._places = np.array(places, np.int64)
        self._weights = np.concatenate(weights)
        self._choices = np.repeat(np.arange(len(lengths)), lengths)
        self._counts = [len(plan.choices) for plan in plans]

    def of(self, log_probs: NDArray[np.float32]) -> list[NDArray[np.float64]]:
        """Scores of each question's choices, of the pairs' log-probabilities (P,)."""
        parts = log_probs[self._places] * self._weights
        sums = np.bincount(self._choices, parts, minlength=sum(self._counts))
        return np.split(sums, np.cumsum(self._counts)[:-1])

    def _place(self, plan: ChoicePlan, number: int, column: int) -> int:
        probe = plan.probes[number]
        assert isinstance(probe.wanted, TokenScores)
        row = self.rows.setdefault(probe.row, len(self.rows))
        pair = (row, int(probe.wanted.tokens[0, column]))
        return self.pairs.setdefault(pair, len(self.pairs))
