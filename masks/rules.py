"""What each kind of metadata value may be; every function returns the value, normalised.

The dataclasses call these when they are made, so that a mask made in memory and a mask read
from a file pass the same checks. All raise MaskValueError.
"""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence

from masks.errors import MaskValueError

Setting = str | int | float | bool | None

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def check_text(field: str, value: object) -> str:
    """A non-empty string that is safe to print: no control characters, no lone surrogates."""
    if not isinstance(value, str) or not value.strip():
        raise MaskValueError(f"{field} must be a non-empty string, not {value!r:.80}")
    return _check_printable(field, value)


def check_digest(field: str, value: object) -> str:
    """`sha256:` and 64 lower-case hexadecimal digits."""
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise MaskValueError(
            f"{field} must be 'sha256:' and 64 lower-case hexadecimal digits, not {value!r:.80}"
        )
    return value


def check_integer(field: str, value: object, minimum: int = 0) -> int:
    """An integer (no boolean) of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise MaskValueError(f"{field} must be an integer of at least {minimum}, not {value!r:.80}")
    return value


def check_number(field: str, value: object) -> float:
    """A finite number (no boolean), as a float."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:  # an integer beyond the range of floats
            number = math.inf
        if math.isfinite(number):
            return number
    raise MaskValueError(f"{field} must be a finite number, not {value!r:.80}")


def check_fraction(field: str, value: object) -> float:
    """A number from 0 to 1."""
    number = check_number(field, value)
    if not 0.0 <= number <= 1.0:
        raise MaskValueError(f"{field} must be from 0 to 1, not {number}")
    return number


def check_mapping(field: str, value: object) -> dict[str, object]:
    """A mapping with printable string keys, copied in the order of its keys."""
    if not isinstance(value, Mapping):
        raise MaskValueError(f"{field} must map names to values, not be {value!r:.80}")
    names = [check_text(f"a name in {field}", name) for name in value]
    return {name: value[name] for name in sorted(names)}


def check_setting(field: str, value: object) -> Setting:
    """A string (it may be empty), a finite number, a boolean or None."""
    if isinstance(value, str):
        return _check_printable(field, value)
    if value is None or isinstance(value, int):
        return value
    return check_number(field, value)


def check_shapes(field: str, value: object) -> dict[str, tuple[int, int]]:
    """(rows, columns) for each matrix, at least one matrix, at least 1 of each."""
    shapes: dict[str, tuple[int, int]] = {}
    for name, shape in check_mapping(field, value).items():
        pair = check_sequence(f"the shape of {name}", shape)
        if len(pair) != 2:
            raise MaskValueError(f"the shape of {name} must be (rows, columns), not {shape!r:.80}")
        rows, columns = (check_integer(f"the shape of {name}", size, 1) for size in pair)
        shapes[name] = (rows, columns)
    if "__metadata__" in shapes:
        raise MaskValueError(f"{field} must not name __metadata__, which safetensors reserves")
    if not shapes:
        raise MaskValueError(f"{field} must name at least one matrix")
    return shapes


def check_layers(field: str, value: object) -> tuple[int, int]:
    """(first, last), counted from 1, both included."""
    pair = check_sequence(field, value)
    if len(pair) != 2:
        raise MaskValueError(f"{field} must be (first, last), not {value!r:.80}")
    first, last = (check_integer(field, layer, 1) for layer in pair)
    if first > last:
        raise MaskValueError(f"{field} must not end before they start, as {first} to {last} do")
    return first, last


def check_templates(field: str, value: object) -> tuple[str, ...]:
    """At least one cloze template, each with [X] and with exactly one [Y]."""
    templates = tuple(check_text(f"a template in {field}", t) for t in check_sequence(field, value))
    if not templates:
        raise MaskValueError(f"{field} must hold at least one template")
    for template in templates:
        if "[X]" not in template or template.count("[Y]") != 1:
            raise MaskValueError(
                f"a template needs [X] for the subject and one [Y] for the object; "
                f"{template!r:.160} does not have them"
            )
    return templates


def check_sequence(field: str, value: object) -> tuple[object, ...]:
    """A list or tuple (a string is neither), as a tuple."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise MaskValueError(f"{field} must be a list, not {value!r:.80}")
    return tuple(value)


def _check_printable(field: str, value: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        raise MaskValueError(f"{field} holds a control character: {value!r:.80}")
    return value
