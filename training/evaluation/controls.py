"""The controls of every report: a prior that reads no subject, random masks, masks of others."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from training.data.errors import DataError
from training.data.triples import Triple


@dataclass(frozen=True, eq=False)
class FrequencyPrior:
    """How often each token was the object of each relation in training: (V,) int64 a relation.

    A model that does not beat it has learned which objects a relation likes, and nothing of the
    subjects. Nothing is added to a count of zero: the tokens never seen all tie, and share the
    middle of the ranks that are left.
    """

    counts: Mapping[str, torch.Tensor]

    @classmethod
    def fit(
        cls,
        triples: Iterable[Triple],
        *,
        token_id_of: Callable[[str], int],
        vocabulary_size: int,
    ) -> "FrequencyPrior":
        """Count the objects of training facts, all of them single tokens.

        Raises:
            DataError: no facts.
            ValueError: an object that is not one token (from `token_id_of`), or an id that is
                outside the vocabulary.
        """
        ids: dict[str, list[int]] = {}
        for triple in triples:
            token_id = token_id_of(triple.object)
            if not 0 <= token_id < vocabulary_size:
                raise ValueError(
                    f"token id {token_id} of {triple.object!r} is outside the vocabulary of "
                    f"{vocabulary_size}"
                )
            ids.setdefault(triple.relation, []).append(token_id)
        if not ids:
            raise DataError("a frequency prior needs training facts")
        return cls(
            {
                relation: torch.bincount(torch.tensor(tokens), minlength=vocabulary_size)
                for relation, tokens in ids.items()
            }
        )

    def scores(self, relation: str, *, rows: int = 1) -> torch.Tensor:
        """Return (rows, V) counts as int64 scores, the same for every row (a view: do not write).

        Raises:
            DataError: no facts of this relation were counted.
        """
        if relation not in self.counts:
            known = ", ".join(sorted(self.counts))
            raise DataError(f"no training facts of relation {relation!r} were counted, of: {known}")
        return self.counts[relation].expand(rows, -1)


def random_keep(
    shapes: Mapping[str, tuple[int, ...]], sparsity: float | Mapping[str, float], seed: int
) -> dict[str, npt.NDArray[np.bool_]]:
    """Return a random mask for each matrix, True = keep, as sparse as a learned one.

    Of a matrix of n weights exactly `round(sparsity * n)` are False (a half goes to the even
    neighbour). `sparsity` is one number, or one for each matrix. Each matrix depends on the seed
    and its own name only.

    Raises:
        ValueError: a sparsity outside 0 to 1, or names that differ from those of `shapes`.
    """
    if isinstance(sparsity, Mapping):
        if sparsity.keys() != shapes.keys():
            names = sorted(sparsity.keys() ^ shapes.keys())
            raise ValueError(f"shapes and sparsity must name the same matrices: {', '.join(names)}")
        wanted = dict(sparsity)
    else:
        wanted = dict.fromkeys(shapes, sparsity)
    return {
        name: _random_matrix(shape, wanted[name], _generator(seed, name))
        for name, shape in shapes.items()
    }


def shuffled(
    multipliers: Mapping[str, npt.NDArray[np.float32]], seed: int
) -> dict[str, npt.NDArray[np.float32]]:
    """Return the values of each matrix at random places of it: `random_keep` for expectations.

    Each matrix depends on the seed and its own name only.
    """
    return {
        name: _generator(seed, name).permutation(part.reshape(-1)).reshape(part.shape)
        for name, part in multipliers.items()
    }


def mismatched_assignment(relations: Sequence[str], shift: int) -> dict[str, str]:
    """Return for each relation another one whose mask stands in for its own.

    A cyclic shift by 1 to n - 1 places: no relation keeps its own mask, each mask is used once,
    and over all shifts each relation meets every other mask once.

    Raises:
        ValueError: fewer than two relations, a repeated one, or a shift out of range.
    """
    count = len(relations)
    if count < 2 or len(set(relations)) != count:
        raise ValueError("a mismatched assignment needs two or more different relations")
    if not 1 <= shift < count:
        raise ValueError(f"shift must be from 1 to {count - 1}, not {shift}")
    return {
        relation: relations[(index + shift) % count] for index, relation in enumerate(relations)
    }


def _random_matrix(
    shape: tuple[int, ...], sparsity: float, generator: np.random.Generator
) -> npt.NDArray[np.bool_]:
    if not 0 <= sparsity <= 1:  # also refuses NaN
        raise ValueError(f"sparsity must be from 0 to 1, not {sparsity}")
    keep = np.ones(shape, dtype=np.bool_)
    dropped = generator.choice(keep.size, size=round(sparsity * keep.size), replace=False)
    keep.reshape(-1)[dropped] = False
    return keep


def _generator(seed: int, name: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}\n{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
