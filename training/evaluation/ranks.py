"""Ranks of the right token among the scores of a vocabulary, ties counted fairly."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

ABSOLUTE_TOLERANCE = 1e-5
RELATIVE_TOLERANCE = 1e-4

# Scores compared at a time: bounds the extra memory to some 100 MiB whatever N is.
_CHUNK_SCORES = 4_000_000


@dataclass(frozen=True, eq=False)
class Ranks:
    """First and last rank (from 1) that each of N targets may take among the scores tied with it.

    `optimistic` (N,) puts a target before everything it ties with, `pessimistic` (N,) behind it.
    Both are (K, N) where each target was ranked K times, under each of K masks for instance; what
    a target is worth is then the mean over them.

    Raises:
        ValueError: not two arrays of one such shape with 1 <= optimistic <= pessimistic.
    """

    optimistic: npt.NDArray[np.int64]
    pessimistic: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        first, last = self.optimistic, self.pessimistic
        if first.ndim not in (1, 2) or first.shape != last.shape:
            raise ValueError(
                f"ranks must be two arrays of one shape, (N,) or (K, N): {first.shape}, "
                f"{last.shape}"
            )
        if np.any(first < 1) or np.any(last < first):
            raise ValueError("ranks must have 1 <= optimistic <= pessimistic")

    def __len__(self) -> int:
        return int(self.optimistic.shape[-1])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ranks):
            return NotImplemented
        return np.array_equal(self.optimistic, other.optimistic) and np.array_equal(
            self.pessimistic, other.pessimistic
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def realistic(self) -> npt.NDArray[np.float64]:
        """(N,) or (K, N) mean of the optimistic and the pessimistic rank.

        That is the expected rank when tied scores stand in random order (Berrendorf et al. 2020,
        "On the Ambiguity of Rank-Based Evaluation of Entity Alignment or Link Prediction Methods";
        PyKEEN's `realistic`).
        """
        return (self.optimistic + self.pessimistic) / 2.0


def stacked(parts: Sequence[Ranks]) -> Ranks:
    """(K, N) ranks of K parts of (N,) each, which rank the same targets.

    Raises:
        ValueError: no parts, or of different lengths.
    """
    return Ranks(
        np.stack([part.optimistic for part in parts]),
        np.stack([part.pessimistic for part in parts]),
    )


def rank_targets(
    scores: torch.Tensor,
    target: torch.Tensor,
    *,
    candidates: torch.Tensor | None = None,
    absolute: float = ABSOLUTE_TOLERANCE,
    relative: float = RELATIVE_TOLERANCE,
) -> Ranks:
    """Rank the target of each row among all scores of the row, higher scores first.

    A score ties with the target's score `t` if it is within `absolute + relative * |t|` of it, so
    that the last bits of a sum, which differ between batches and devices, decide nothing. An
    infinite `t` ties with its equals only.

    Args:
        scores: (N, V) real scores, such as log-probabilities; -inf is allowed.
        target: (N,) integer column of the right answer in each row.
        candidates: (V,) bool, the columns that take part; all by default.
        absolute: the absolute tolerance, in units of score.
        relative: the tolerance relative to the target's score.

    Raises:
        ValueError: shapes that do not fit, a target that is out of range or no candidate, a NaN.
    """
    _check(scores, target, candidates)
    rows, columns = scores.shape
    target = target.to(scores.device, torch.int64)
    step = max(1, _CHUNK_SCORES // max(1, columns))
    optimistic = np.empty(rows, dtype=np.int64)
    pessimistic = np.empty(rows, dtype=np.int64)
    for start in range(0, rows, step):
        part = slice(start, start + step)
        chunk = scores[part]
        if torch.isnan(chunk).any():
            raise ValueError("a score is NaN: NaN has no rank")
        right = chunk.gather(1, target[part].unsqueeze(1)).double()
        if candidates is not None:
            chunk = chunk[:, candidates]
        tolerance = torch.where(torch.isfinite(right), absolute + relative * right.abs(), 0.0)
        optimistic[part] = (chunk > right + tolerance).sum(dim=1).cpu().numpy() + 1
        # The target ties with itself, so this count is already a rank from 1.
        pessimistic[part] = (chunk >= right - tolerance).sum(dim=1).cpu().numpy()
    return Ranks(optimistic, pessimistic)


def realistic_rank(
    scores: torch.Tensor,
    target: torch.Tensor,
    *,
    candidates: torch.Tensor | None = None,
    absolute: float = ABSOLUTE_TOLERANCE,
    relative: float = RELATIVE_TOLERANCE,
) -> npt.NDArray[np.float64]:
    """Return the (N,) realistic ranks of `rank_targets`, whose arguments and errors it shares."""
    return rank_targets(
        scores, target, candidates=candidates, absolute=absolute, relative=relative
    ).realistic


def _check(scores: torch.Tensor, target: torch.Tensor, candidates: torch.Tensor | None) -> None:
    if scores.ndim != 2 or target.shape != scores.shape[:1]:
        raise ValueError(
            f"scores must be (N, V) and target (N,): {tuple(scores.shape)}, {tuple(target.shape)}"
        )
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise ValueError(f"target must hold integers, not {target.dtype}")
    columns = scores.shape[1]
    if target.numel() and not (int(target.min()) >= 0 and int(target.max()) < columns):
        raise ValueError(f"a target is outside the {columns} columns of the scores")
    if candidates is None:
        return
    if candidates.shape != (columns,) or candidates.dtype != torch.bool:
        raise ValueError(f"candidates must be ({columns},) bool")
    if not candidates[target.long().to(candidates.device)].all():
        raise ValueError("a target is not among the candidates")
