"""Facts as JSON lines: our own field names, and those of the LAMA probes."""

import json
from collections.abc import Mapping, Sequence

from training.data.delimited import COLUMN_NAMES
from training.data.rows import RowError, triple_of
from training.data.triples import Triple

# LAMA writes sub_label / obj_label; `pred` in ConceptNet and Google-RE, `predicate_id` in T-REx.
LAMA_NAMES = {
    "subject": ("sub_label", "sub"),
    "relation": ("pred", "predicate_id"),
    "object": ("obj_label", "obj"),
}
LAMA_MARK = "obj_label"
PLAIN_NAMES = {
    role: tuple(name for name in names if name not in ("sub_label", "obj_label"))
    for role, names in COLUMN_NAMES.items()
}


def parse_json_row(text: str) -> Triple:
    """Parse one object with `subject`, `relation` and `object` (or `head`, `tail`, ...).

    Raises:
        RowError: invalid JSON, not an object, or a field missing, given twice or unusable.
    """
    record = json_object(text)
    return triple_of(
        _one_of(record, "subject", PLAIN_NAMES["subject"]),
        _one_of(record, "relation", PLAIN_NAMES["relation"]),
        _one_of(record, "object", PLAIN_NAMES["object"]),
    )


def parse_lama_row(text: str) -> Triple:
    """Parse one line of a LAMA probe: `sub_label`, `obj_label`, and `pred` or `predicate_id`.

    Petroni et al. (2019), "Language Models as Knowledge Bases?". The first name present counts:
    LAMA's own files carry ids (`sub`, `obj`) beside the labels.

    Raises:
        RowError: invalid JSON, not an object, or a field missing or unusable.
    """
    record = json_object(text)
    return triple_of(
        _first_of(record, LAMA_NAMES["subject"]),
        _first_of(record, LAMA_NAMES["relation"]),
        _first_of(record, LAMA_NAMES["object"]),
    )


def json_object(text: str) -> Mapping[str, object]:
    """Return the JSON object on one line.

    Raises:
        RowError: it is not valid JSON or not an object.
    """
    try:
        record: object = json.loads(text)
    except json.JSONDecodeError as error:
        raise RowError(f"invalid JSON: {error.msg} (column {error.colno})") from error
    except (RecursionError, ValueError) as error:  # nested too deep; an integer of too many digits
        raise RowError(f"invalid JSON: {error}") from error
    if not isinstance(record, dict):
        raise RowError(f"a JSON object belongs on each line, not {type(record).__name__}")
    return record


def _one_of(record: Mapping[str, object], role: str, names: Sequence[str]) -> object:
    present = [name for name in names if name in record]
    if not present:
        raise RowError(f"the field {role!r} is missing")
    if len(present) > 1:
        raise RowError(f"the {role} is given more than once: {', '.join(present)}")
    return record[present[0]]


def _first_of(record: Mapping[str, object], names: Sequence[str]) -> object:
    for name in names:
        if name in record:
            return record[name]
    raise RowError(f"the field {' or '.join(repr(name) for name in names)} is missing")
