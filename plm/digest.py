"""The identity of a base model: the one place where it is computed."""

import hashlib
import json
import sys
from collections.abc import Mapping

import torch
from torch import Tensor


def weights_digest(parameters: Mapping[str, Tensor]) -> str:
    """`sha256:<hex>` over all parameters of a model, in fp32, by every name that they have.

    Hashed are, in order of name, a line of compact JSON `[name, shape]` and the values as
    little-endian fp32. A tensor known under several names (a decoder tied to the embeddings)
    counts once, under the first of them in order; buffers such as `position_ids` do not count.

    All weights, not only those that masks cover: a mask is learned against the whole frozen
    network. Other embeddings, biases, lower layers or another head make its bits as meaningless
    as other covered weights would.

    Raises:
        ValueError: a parameter is not fp32 (the digest would then depend on the serving type).
    """
    state = hashlib.sha256(b"relata base 1\n")
    seen: set[int] = set()
    for name, parameter in sorted(parameters.items()):
        if id(parameter) in seen:
            continue
        seen.add(id(parameter))
        if parameter.dtype != torch.float32:
            raise ValueError(
                f"the digest is taken of fp32 weights, but {name} is {parameter.dtype}"
            )
        values = parameter.detach().cpu().contiguous().numpy()
        if sys.byteorder == "big":
            values = values.byteswap()
        header = json.dumps([name, list(values.shape)], separators=(",", ":"))
        state.update(header.encode() + b"\n")
        state.update(values.reshape(-1).view("u1").data)
    return f"sha256:{state.hexdigest()}"
