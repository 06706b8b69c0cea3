"""JSON with one spelling for each value, read without leniency.

The checksum of a mask file is taken over this form, so that it must not depend on who wrote it.
"""

import json
from typing import NoReturn


def encode_json(value: object) -> str:
    """Compact JSON, keys sorted, ASCII only.

    Raises:
        ValueError: a number that is not finite.
        TypeError: a value JSON does not know.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def decode_json(text: str | bytes) -> object:
    """Decode JSON (bytes must be UTF-8).

    Raises:
        ValueError: invalid JSON, a repeated key, NaN or Infinity, or nesting without end.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    try:
        value: object = json.loads(
            text, object_pairs_hook=_object_without_repeats, parse_constant=_refuse_constant
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value


def _object_without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # With a repeated key two readers may see two different masks in one file.
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is repeated")
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
