"""Names: which a relation may have, and what a parameter's name says about its place.

Parameter names follow Hugging Face's models (BERT, DistilBERT, RoBERTa, MPNet, ELECTRA), e.g.
`bert.encoder.layer.3.attention.self.query.weight`, whose layers count from 0; ours count from 1.
"""

import re

from masks.errors import MaskValueError

_RELATION = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,127}")
_LAYER = re.compile(r"(?:^|\.)(?:layer|layers|h)\.([0-9]{1,6})\.(.+)")

# The part of the name between the layer's number and ".weight" -> the role of the matrix.
_ROLES = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "attention_output",
    "attention.q_lin": "query",
    "attention.k_lin": "key",
    "attention.v_lin": "value",
    "attention.out_lin": "attention_output",
    "attention.attn.q": "query",
    "attention.attn.k": "key",
    "attention.attn.v": "value",
    "attention.attn.o": "attention_output",
    "intermediate.dense": "feed_forward_in",
    "output.dense": "feed_forward_out",
    "ffn.lin1": "feed_forward_in",
    "ffn.lin2": "feed_forward_out",
}


def check_relation_name(name: str) -> str:
    """Return `name` if it can stand in a file name and a URL as it is.

    It has 1 to 128 characters: ASCII letters, digits, `_`, `-` and `.`, the first a letter.

    Raises:
        MaskValueError: the name breaks that rule.
    """
    if not isinstance(name, str) or not _RELATION.fullmatch(name):
        raise MaskValueError(
            f"relation {name!r:.160} is not a name: it needs 1 to 128 letters, digits, '_', '-' "
            f"or '.', the first of them a letter"
        )
    return name


def layer_of(parameter: str) -> int | None:
    """The layer a parameter belongs to, counted from 1, or None where its name does not say."""
    match = _LAYER.search(parameter)
    return int(match[1]) + 1 if match else None


def role_of(parameter: str) -> str | None:
    """What a weight matrix does in its layer, or None where its name does not say.

    One of query, key, value, attention_output, feed_forward_in, feed_forward_out.
    """
    match = _LAYER.search(parameter)
    return _ROLES.get(match[2].removesuffix(".weight")) if match else None
