"""Fields of parsed JSON, checked for their type one by one."""

from collections.abc import Mapping
from typing import TypeVar

from training.data.errors import DataError

T = TypeVar("T")


def field(record: Mapping[str, object], name: str, kind: type[T]) -> T:
    """Return `record[name]`, of type `kind` (a bool is no int).

    Raises:
        DataError: it is missing or of another type.
    """
    if name not in record:
        raise DataError(f"the field {name!r} is missing")
    value = record[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise DataError(f"{name!r} must be of type {kind.__name__}, not {type(value).__name__}")
    return value


def list_of(value: object, kind: type[T], name: str) -> list[T]:
    """Return `value` as a list whose entries are of type `kind` (a bool is no int).

    Raises:
        DataError: it is not; the text uses `name`.
    """
    if not isinstance(value, list):
        raise DataError(f"{name!r} must be a list, not {type(value).__name__}")
    for entry in value:
        if not isinstance(entry, kind) or (isinstance(entry, bool) and kind is not bool):
            raise DataError(f"{name!r} must hold only {kind.__name__}, not {type(entry).__name__}")
    return value
