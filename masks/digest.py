"""Identity of masked models: the one place where digests of masks are computed."""

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from masks.canonical_json import encode_json
from masks.errors import MaskValueError

_VOTE = re.compile(r"vote:([1-9][0-9]{0,5})")


def mask_digest(
    base_digest: str,
    shapes: Mapping[str, tuple[int, int]],
    packed: Mapping[str, NDArray[np.uint8]],
    bits_per_weight: int = 1,
) -> str:
    """`sha256:<hex>` of what decides a masked model's answers: base, names, shapes and bits.

    Metadata is left out, so that a mask whose description is corrected keeps its digest and the
    answers cached under it. Hashed are the line `relata mask 1` (at 8 bits a weight `relata
    expectation mask 1`, so that no bits pass for values), the line of compact JSON
    `[base_digest, [[name, rows, columns], ...]]` in order of name, then the bytes of each matrix
    in that order: packed (rows, ceil(columns / 8)), or values (rows, columns).
    """
    names = sorted(shapes)
    layout = [base_digest, [[name, *shapes[name]] for name in names]]
    kind = "mask" if bits_per_weight == 1 else "expectation mask"
    state = sha256(f"relata {kind} 1\n{encode_json(layout)}\n".encode())
    for name in names:
        state.update(np.ascontiguousarray(packed[name]).data)
    return f"sha256:{state.hexdigest()}"


def pack_digest(base_digest: str, digests: Mapping[str, str]) -> str:
    """`sha256:<hex>` of a pack, from its base's digest and its masks' digests by relation.

    Two packs with one digest answer every relation with the same masked model, whatever their
    names, their order and what their files say beside the bits. Hashed are the line
    `relata pack 1` and the line of compact JSON `[base_digest, [[relation, digest], ...]]` in
    order of relation.
    """
    line = f"relata pack 1\n{encode_json([base_digest, sorted(digests.items())])}\n"
    return f"sha256:{sha256(line.encode()).hexdigest()}"


def combined_digest(kind: str, digests: Sequence[str]) -> str:
    """`sha256:<hex>` of a combination, from its parts' digests alone; `kind` as in `Combine`.

    Combinations that must be the same mask get the same digest where that shows in the parts:

    - union and intersection depend neither on order nor on repeats, and of one mask they are
      that mask;
    - difference is ordered, the first minus the others; the others' order and repeats do not
      matter, and of one mask it is that mask;
    - in `vote:k` order does not matter but repeats do (a relation listed twice votes twice);
      `vote:1` is the union, and `vote:n` of n masks the intersection.

    Raises:
        MaskValueError: no digests, or a kind that does not exist.
    """
    parts = list(digests)
    if kind == "vote:1":
        kind = "union"
    elif kind == f"vote:{len(parts)}":
        kind = "intersection"
    if kind in ("union", "intersection"):
        parts = sorted(set(parts))
    elif kind == "difference":
        parts[1:] = sorted(set(parts[1:]))
    elif (match := _VOTE.fullmatch(kind)) and int(match[1]) < len(parts):
        parts.sort()
    else:
        raise MaskValueError(f"{len(parts)} masks cannot be combined by {kind!r:.80}")
    if not parts:
        raise MaskValueError("a combination has at least one part")
    if len(parts) == 1:
        return parts[0]
    line = f"relata combination 1\n{encode_json([kind, parts])}\n"
    return f"sha256:{sha256(line.encode()).hexdigest()}"
