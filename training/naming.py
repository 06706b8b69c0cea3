"""Names of relations: a mask's file and URL carry them, so not every column of a sheet will do."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from masks import MaskError, check_relation_name
from plm import fold_text

_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class UnfitName:
    """A relation that no mask can be named after, and what would do."""

    relation: str
    reason: str
    suggestion: str


def unfit_names(relations: Iterable[str]) -> tuple[UnfitName, ...]:
    """Those that break the rule of names, and those that differ from another in case only."""
    names = sorted(set(relations))
    spellings = defaultdict(list)
    for name in names:
        spellings[fold_text(name)].append(name)
    found = []
    for name in names:
        try:
            check_relation_name(name)
        except MaskError as error:
            found.append(UnfitName(name, str(error), _fit(name)))
            continue
        first = spellings[fold_text(name)][0]
        if name != first:
            found.append(UnfitName(name, f"{first} is there too, which is the same name", first))
    return tuple(found)


def _fit(name: str) -> str:
    words = _UNFIT.sub("_", name.strip()).strip("_.-")
    return words[:128] if words[:1].isalpha() else f"r_{words}"[:128].rstrip("_")
