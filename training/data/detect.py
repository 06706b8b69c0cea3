"""Which format a file of facts is in, told from its content; what stays in doubt is refused."""

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Literal, NoReturn

from training.data.delimited import SplitRow, header_columns, split_csv, split_tsv
from training.data.errors import DataError
from training.data.json_lines import LAMA_MARK, PLAIN_NAMES, json_object
from training.data.rows import RowError

FileFormat = Literal["tsv", "csv", "jsonl", "lama", "conceptnet-100k"]

_SAMPLE_LINES = 2000
_JSON_ARRAY = re.compile(r'\s*\[\s*(?:$|[\[{"])')
# One column separator must be this much more frequent than the other to be believed.
_CLEAR_MARGIN = 10
_NEARLY_ALL, _HARDLY_ANY = 0.95, 0.05

# The relations of ConceptNet-100K, whose files put the relation first.
_CONCEPTNET_RELATIONS = frozenset(
    name.casefold()
    for name in (
        *("AtLocation", "CapableOf", "Causes", "CausesDesire", "CreatedBy", "DefinedAs"),
        *("DesireOf", "Desires", "HasA", "HasFirstSubevent", "HasLastSubevent"),
        *("HasPainCharacter", "HasPainIntensity", "HasPrerequisite", "HasProperty"),
        *("HasSubevent", "InheritsFrom", "InstanceOf", "IsA", "LocatedNear", "LocationOfAction"),
        *("MadeOf", "MotivatedByGoal", "NotCapableOf", "NotDesires", "NotHasA", "NotHasProperty"),
        *("NotIsA", "NotMadeOf", "PartOf", "ReceivesAction", "RelatedTo", "SymbolOf", "UsedFor"),
    )
)


def detect_format(lines: Sequence[str], name: str) -> FileFormat:
    """Return the format of the file `name` from its first lines (one of them at least not blank).

    Raises:
        DataError: the lines fit no format, or more than one; the text says what to pass.
    """
    sample = [
        line
        for line in islice((line for line in lines if line.strip()), _SAMPLE_LINES)
        if not line.startswith("#")
    ]
    if not sample:
        return "tsv"  # nothing but comments
    if sample[0].lstrip().startswith("{"):
        return _json_family(sample, name)
    if _JSON_ARRAY.match(sample[0]) and "\t" not in sample[0]:
        raise DataError(f"{name}: a JSON array; write one JSON object on each line instead")
    return _delimited_family(sample, name)


def _json_family(sample: Sequence[str], name: str) -> FileFormat:
    families: set[FileFormat] = set()
    for line in sample:
        try:
            record = json_object(line)
        except RowError:
            continue
        families.update(_families_of(record))
    if not families:
        raise DataError(
            f"{name}: no line holds a JSON object with subject, relation and object (or LAMA's "
            "sub_label, pred, obj_label); write one complete object on each line"
        )
    if len(families) > 1:
        raise DataError(
            f"{name}: has both LAMA's field names and others; pass format='lama' or format='jsonl'"
        )
    return families.pop()


def _families_of(record: Mapping[str, object]) -> set[FileFormat]:
    families: set[FileFormat] = set()
    if LAMA_MARK in record:
        families.add("lama")
    # LAMA's own lines may carry `sub`, `obj` and `pred` besides; other names are ours alone.
    plain = {name for names in PLAIN_NAMES.values() for name in names}
    own = plain - {"sub", "obj", "pred", "predicate_id"}
    if record.keys() & own or (not families and record.keys() & plain):
        families.add("jsonl")
    return families


def _delimited_family(sample: Sequence[str], name: str) -> FileFormat:
    rows = {"tsv": _rows(sample, split_tsv), "csv": _rows(sample, split_csv)}
    tabs, commas = (sum(len(row) >= 3 for row in rows[kind]) for kind in ("tsv", "csv"))
    if not tabs and not commas:
        raise DataError(
            f"{name}: neither three columns separated by tabs or commas nor JSON lines; "
            "see the training guide for the formats that can be read"
        )
    if tabs and tabs >= _CLEAR_MARGIN * commas:
        return _tab_separated(rows["tsv"], name)
    if commas and commas >= _CLEAR_MARGIN * tabs:
        if header_columns(rows["csv"][0], name) is None:
            _check_relation_second(rows["csv"], name, relation_first="")
        return "csv"
    for kind in ("tsv", "csv"):
        if header_columns(rows[kind][0], name) is not None:
            return "tsv" if kind == "tsv" else "csv"
    raise DataError(
        f"{name}: tabs and commas both separate columns in it; pass format='tsv' or format='csv'"
    )


def _tab_separated(rows: Sequence[list[str]], name: str) -> FileFormat:
    if header_columns(rows[0], name) is not None:
        return "tsv"
    first, second = (
        _share_of_conceptnet([row[i] for row in rows if len(row) >= 3]) for i in (0, 1)
    )
    if first >= _NEARLY_ALL and second <= _HARDLY_ANY:
        return "conceptnet-100k"
    _check_relation_second(rows, name, relation_first="format='conceptnet-100k' if they are ")
    return "tsv"


def _check_relation_second(rows: Sequence[list[str]], name: str, *, relation_first: str) -> None:
    """Refuse three columns without a header whose relation may not be the second one."""
    triples = [row for row in rows if len(row) == 3]
    if not triples:
        raise DataError(
            f"{name}: its rows have {len(rows[0])} columns and no header; put a header line at the "
            "top that names the columns subject, relation and object"
        )
    first, second = ([row[i] for row in triples] for i in (0, 1))
    if _share_of_conceptnet(second) >= _NEARLY_ALL and _share_of_conceptnet(first) <= _HARDLY_ANY:
        return
    # A relation repeats more than the subjects it is said of. Anything else is in doubt.
    if _share_of_conceptnet(first) > _HARDLY_ANY or len(set(second)) >= len(set(first)):
        _refuse_order(name, relation_first)


def _refuse_order(name: str, relation_first: str) -> NoReturn:
    own = "format='csv'" if not relation_first else "format='tsv'"
    other = f", {relation_first}relation, head, tail" if relation_first else ""
    raise DataError(
        f"{name}: has no header, and its columns do not tell which one is the relation; pass "
        f"{own} if they are subject, relation, object{other}; or put a header line "
        "(subject, relation, object in the file's order) at the top"
    )


def _share_of_conceptnet(values: Sequence[str]) -> float:
    known = sum(value.strip().casefold() in _CONCEPTNET_RELATIONS for value in values)
    return known / len(values) if values else 0.0


def _rows(sample: Sequence[str], split: SplitRow) -> list[list[str]]:
    rows = []
    for line in sample:
        try:
            rows.append(split(line))
        except RowError:
            rows.append([line])
    return rows
