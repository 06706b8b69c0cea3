"""Readings as bytes, and a seal that tells whether bytes are the answer to this very probe.

A reading is its log-probabilities as little-endian float32, then, of `TopTokens`, its token ids as
little-endian int32. What the probe wants says which of both, and in what shape. Outside this
process a seal stands before it: a checksum that depends on the key, so that a shortened, changed
or foreign value is told from the one that was put there.
"""

from hashlib import blake2b

import numpy as np

from plm import Reading, TokenScores, TopTokens

_SEAL_BYTES = 16
_SCORES = np.dtype("<f4")
_TOKENS = np.dtype("<i4")


def pack(reading: Reading) -> bytes:
    """A reading as bytes."""
    packed = np.ascontiguousarray(reading.log_probs, dtype=_SCORES).tobytes()
    if reading.token_ids is not None:
        packed += np.ascontiguousarray(reading.token_ids, dtype=_TOKENS).tobytes()
    return packed


def packed_bytes(wanted: TopTokens | TokenScores) -> int:
    """How many bytes the reading that is wanted can have when packed."""
    if isinstance(wanted, TokenScores):
        return _SCORES.itemsize * wanted.tokens.size
    return (_SCORES.itemsize + _TOKENS.itemsize) * wanted.count


def unpack(wanted: TopTokens | TokenScores, packed: bytes) -> Reading | None:
    """The reading that `pack` made bytes of, its arrays read-only; None: it is no such reading."""
    if isinstance(wanted, TokenScores):
        if len(packed) != packed_bytes(wanted):
            return None
        log_probs = np.frombuffer(packed, dtype=_SCORES).reshape(wanted.tokens.shape)
        return Reading(log_probs, None)
    count, rest = divmod(len(packed), _SCORES.itemsize + _TOKENS.itemsize)
    if rest or len(packed) > packed_bytes(wanted):
        return None
    return Reading(
        np.frombuffer(packed, dtype=_SCORES, count=count),
        np.frombuffer(packed, dtype=_TOKENS, offset=_SCORES.itemsize * count),
    )


def seal(key: bytes, packed: bytes) -> bytes:
    """The bytes with their seal, to be kept under the key where others may write."""
    return _checksum(key, packed) + packed


def unseal(key: bytes, sealed: object) -> bytes | None:
    """What was sealed under this key; None: this was not."""
    if not isinstance(sealed, bytes) or len(sealed) < _SEAL_BYTES:
        return None
    packed = sealed[_SEAL_BYTES:]
    return packed if sealed[:_SEAL_BYTES] == _checksum(key, packed) else None


def _checksum(key: bytes, packed: bytes) -> bytes:
    return blake2b(packed, digest_size=_SEAL_BYTES, key=key).digest()
