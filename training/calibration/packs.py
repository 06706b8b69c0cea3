"""The masks of a pack calibrated without learning them anew, and held against test facts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from masks import MaskPack, RelationMask, add_to_pack
from plm import BaseModel
from training.calibration.fitting import Fit
from training.calibration.masks import calibrate, measure
from training.data import DataError, Split, Triple
from training.evaluation import Reliability
from training.facts import parts_to_learn


def calibrate_pack(
    base: BaseModel,
    folder: Path,
    split: Split,
    further: Sequence[Triple] = (),
    *,
    relations: Iterable[str] = (),
    tell: Callable[[str, Fit], None] = lambda _relation, _fit: None,
) -> MaskPack:
    """Fit the calibrations of a pack's masks (all, or `relations`) and write them into the pack.

    Bits and digests stay as they are. `split` and `further` must be those that the masks were
    learned from, so that no training fact passes for an unseen one. All are fitted before the
    first is written; a mask that cannot be calibrated loses a calibration that it had.

    Raises:
        DataError: a mask was learned from other facts.
        MaskError: the pack or a mask is refused, a relation is unknown, or the base is another.
    """
    pack = MaskPack.open(folder)
    masks = [pack.load(relation) for relation in sorted(set(relations)) or pack.relations]
    parts = []
    for mask in masks:
        part = _part_of(mask, split, further)
        if part is None:
            raise DataError(f"{_other_facts(mask)}; give the same data, further data and seed")
        parts.append(part)
    calibrated = []
    for mask, part in zip(masks, parts, strict=True):
        fit = calibrate(base, mask, part, further)
        calibrated.append(mask.with_calibration(fit.calibration))
        tell(mask.relation, fit)
    for mask in calibrated:
        pack = add_to_pack(folder, mask)
    return pack


def measure_masks(
    base: BaseModel,
    masks: Mapping[str, RelationMask],
    split: Split,
    further: Sequence[Triple] = (),
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[Reliability, ...]:
    """Hold the probabilities of calibrated masks against the test facts of a split, by relation.

    A mask that was learned from other facts than the split's and `further` is left out, as what it
    has seen is not known then: `tell` gets a sentence.

    Raises:
        MaskMismatchError: a mask does not fit the base.
    """
    measured = []
    for _, mask in sorted(masks.items()):
        if mask.metadata.calibration is None:
            continue
        part = _part_of(mask, split, further)
        if part is None:
            tell(f"{_other_facts(mask)}: its probabilities are not held against the test facts")
            continue
        reliability = measure(base, mask, part, further)
        if reliability is not None:
            measured.append(reliability)
    return tuple(measured)


def check_learned_from(
    masks: Mapping[str, RelationMask], split: Split, further: Sequence[Triple] = ()
) -> None:
    """Check that masks were learned from the facts of a split, with or without further ones.

    Raises:
        DataError: one was learned from others; the text names it.
    """
    for mask in masks.values():
        if _part_of(mask, split, further) is None:
            raise DataError(f"{_other_facts(mask)}; give the same data, further data and seed")


def _part_of(mask: RelationMask, split: Split, further: Sequence[Triple]) -> Split | None:
    """What the mask was learned from, if it is the split's facts with or without further ones."""
    for part in parts_to_learn(split, mask.relation, further):
        if part.digest == mask.metadata.data_digest:
            return part
    return None


def _other_facts(mask: RelationMask) -> str:
    metadata = mask.metadata
    return (
        f"the mask of {mask.relation} was learned from other facts than these "
        f"({metadata.data_name}, seed {metadata.seed})"
    )
