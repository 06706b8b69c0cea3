"""JSON as it is sent and read here: one value for each text, and always UTF-8."""

import json
import math
from typing import NoReturn

from app.errors import InvalidJsonError


def encode_json(value: object) -> bytes:
    """Compact UTF-8 JSON.

    Raises:
        ValueError: a number that is not finite.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Half a surrogate pair that a client sent and an error repeats: spelled as JSON spells it.
    return text.encode("utf-8", "backslashreplace")


def decode_json(data: bytes) -> object:
    """Decode JSON.

    Raises:
        InvalidJsonError: not UTF-8, not JSON, NaN or Infinity, a number beyond the range of
            numbers, a repeated key, or nesting without end; it says where, if that is known.
    """
    try:
        text = data.decode("utf-8")
        value: object = json.loads(
            text,
            object_pairs_hook=_object_without_repeats,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except UnicodeDecodeError as error:
        raise InvalidJsonError(f"it is not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise InvalidJsonError(error.msg, error.lineno, error.colno) from error
    except RecursionError as error:
        raise InvalidJsonError("it is nested too deeply") from error
    except ValueError as error:
        # Python's own limit on the digits of an integer.
        raise InvalidJsonError("it holds a number with too many digits") from error
    return value


def _object_without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, value in pairs:
        if key in result:
            raise InvalidJsonError(f"the key {key!r:.80} is repeated in one object")
        result[key] = value
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidJsonError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidJsonError(f"the number {text[:40]} is too large")
    return number
