"""From packs, and the changes that lie over them, to what is served."""

import logging
from collections.abc import Mapping, Sequence

from app.catalogue import Catalogue, RefusedFile, ServedMask
from app.changes.change import Change, key_of
from app.changes.packs import PackState

logger = logging.getLogger(__name__)


def merge(
    packs: Sequence[PackState],
    changes: Mapping[str, Change],
    refused_changes: Sequence[RefusedFile],
) -> Catalogue:
    """What is served: the changes, and of the packs what no change is about.

    A change that was refused hides what the packs say all the same: the relation then is not
    served, rather than under a mask that was replaced. Of a relation that several packs have, the
    first one's is served.
    """
    refused: list[RefusedFile] = []
    served: dict[str, ServedMask] = {}
    hidden = {key_of(file.relation) for file in refused_changes if file.relation} | changes.keys()
    for pack in packs:
        for file in pack.refused:
            if file.relation is None or key_of(file.relation) not in hidden:
                refused.append(file)
        for relation, mask in pack.served.items():
            if key_of(relation) in hidden:
                continue
            if (other := served.setdefault(relation, mask)) is not mask:
                reason = f"pack {other.pack} has the relation too"
                folder = pack.pack.folder
                refused.append(RefusedFile(relation, mask.pack, mask.file, reason, folder))
    for change in changes.values():
        if change.served is not None:
            served[change.served.mask.relation] = change.served
    return Catalogue(
        tuple(pack.listed for pack in packs),
        dict(sorted(served.items())),
        (*refused, *refused_changes),
    )


def tell_refused(before: Catalogue, after: Catalogue) -> None:
    """Log the files that are refused, unless they were before, whatever the reason then."""
    told = {file.path for file in before.refused}
    for file in after.refused:
        if file.path not in told:
            logger.error("mask file %s is refused: %s", file.path, file.reason)


def difference(before: Catalogue, after: Catalogue) -> str:
    """Which relations are served otherwise; empty if none is."""
    old = {relation: mask.sha256 for relation, mask in before.served.items()}
    new = {relation: mask.sha256 for relation, mask in after.served.items()}
    parts = {
        "added": new.keys() - old.keys(),
        "replaced": {name for name in new.keys() & old.keys() if new[name] != old[name]},
        "removed": old.keys() - new.keys(),
    }
    return "; ".join(f"{what} {', '.join(sorted(names))}" for what, names in parts.items() if names)
