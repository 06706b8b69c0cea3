"""The name under which the answer to a probe is kept: all that decides it, hashed."""

import sys
from array import array
from hashlib import blake2b

import numpy as np
from torch import Tensor

from plm import BaseModel, Probe, TopTokens

KEY_BYTES = 32

# Counts up when the same probe may be answered otherwise, or answers are laid out otherwise.
_VERSION = b"relata answer 1"
_NONE = -1


class AnswerKeys:
    """Makes keys of the probes of one base, `KEY_BYTES` bytes each.

    Probes have the same key exactly if they are one question to one model: the base's weights,
    the type and kind of device that they are computed in, the tokens that count as words, the
    mask, and every field of the row and of what is wanted.

    Args:
        base: the base.
        words: bool (V,), the tokens that `TopTokens.words` admits.
    """

    def __init__(self, base: BaseModel, words: Tensor) -> None:
        self._start = blake2b(digest_size=KEY_BYTES)
        admitted = np.packbits(words.cpu().numpy())
        for part in (
            _VERSION,
            base.digest.encode(),
            str(base.products).encode(),
            str(base.dtype).encode(),
            base.device.type.encode(),
            admitted.tobytes(),
        ):
            self._start.update(len(part).to_bytes(8, "little"))
            self._start.update(part)

    def __call__(self, probe: Probe) -> bytes:
        """The probe's key. Takes some microseconds."""
        row, wanted = probe.row, probe.wanted
        mask = b"" if probe.mask is None else probe.mask.digest.encode()
        # Before each part of varying length stands how long it is, so that no two probes are
        # hashed from the same bytes.
        numbers = [
            len(mask) if probe.mask is not None else _NONE,
            len(row.input_ids),
            *row.input_ids,
            len(row.slots),
            *row.slots,
            _NONE if row.second_segment is None else row.second_segment,
        ]
        scored = b""
        if isinstance(wanted, TopTokens):
            numbers += (0, wanted.count, wanted.words, wanted.among_targets)
            numbers += (len(wanted.excluded), *wanted.excluded)
            numbers += (_NONE,) if wanted.targets is None else (len(wanted.targets),)
            numbers += wanted.targets or ()
        else:
            numbers += (1, *wanted.tokens.shape)
            scored = np.ascontiguousarray(wanted.tokens, dtype="<i4").tobytes()
        hashed = self._start.copy()
        hashed.update(_bytes(numbers))
        hashed.update(mask)
        hashed.update(scored)
        return hashed.digest()


def _bytes(numbers: list[int]) -> bytes:
    packed = array("q", numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()
