"""What the model is asked, and what it says: the currency of everything above the engine."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masks import PackedMask
from plm.rows import EncodedRow


@dataclass(frozen=True)
class TopTokens:
    """Asks a row with one slot for its most likely tokens.

    Attributes:
        count: how many; fewer come back if fewer are eligible.
        words: whether whole words alone are ranked (`answer_token_ids`), or every token.
        excluded: tokens left out of the ranking.
        targets: rank only these tokens, each once; `words` then has no say, because a token that
            is asked for is wanted.
        among_targets: normalise over the targets and not over the vocabulary; only their own rows
            of the decoder are computed then.

    Log-probabilities are not renormalised for what is left out: they stay those of the whole
    vocabulary, unless `among_targets`.
    """

    count: int = 10
    words: bool = False
    excluded: tuple[int, ...] = ()
    targets: tuple[int, ...] | None = None
    among_targets: bool = False


@dataclass(frozen=True, eq=False)
class TokenScores:
    """Asks for the log-probabilities of given tokens, normalised over the vocabulary.

    Attributes:
        tokens: (slots of the row, K) int32 token ids; K are as many alternatives.
    """

    tokens: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Probe:
    """One row, the mask set it is asked under, and what is wanted of it.

    Attributes:
        row: tokens and slots.
        mask: None asks the unmasked model.
        wanted: the most likely tokens, or scores of given ones.
    """

    row: EncodedRow
    mask: PackedMask | None
    wanted: TopTokens | TokenScores


@dataclass(frozen=True, eq=False)
class Reading:
    """The answer to a probe.

    Attributes:
        log_probs: float32. To `TopTokens` (k,), the most likely first and equally likely ones in
            order of token id; to `TokenScores` (slots, K).
        token_ids: int32 (k,) of `TopTokens`; None for `TokenScores`.
    """

    log_probs: NDArray[np.float32]
    token_ids: NDArray[np.int32] | None
