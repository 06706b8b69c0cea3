"""`relata masks`: look at packs, check them, cut expectations. Needs no model, imports none."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from app.errors import SettingsError
from app.settings import load_settings
from masks import (
    MANIFEST_NAME,
    Calibration,
    MaskPack,
    MaskValueError,
    UnknownRelationError,
    add_to_pack,
    sparsity_by_layer,
    write_pack,
)


def show_list(folder: Path | None) -> None:
    """List the relations of the packs as their manifests have them."""
    table = Table()
    for column in ("relation", "pack", "base"):
        table.add_column(column)
    for column in ("bits", "sparsity", "facts"):
        table.add_column(column, justify="right")
    for pack in _packs(folder):
        for relation in pack.relations:
            entry = pack.manifest.entries[relation]
            table.add_row(
                relation,
                pack.name,
                pack.base_model,
                str(entry.bits_per_weight),
                f"{entry.sparsity:.2%}",
                str(sum(entry.facts.values())),
            )
    Console().print(table)


def show_mask(relation: str, folder: Path | None) -> None:
    """Print what one relation's mask says of itself.

    Raises:
        UnknownRelationError: no pack has it.
        MaskFileError: its file is refused.
    """
    packs = _packs(folder)
    pack = _pack_of(relation, packs)
    mask = pack.load(relation)
    metadata = mask.metadata
    by_layer = sparsity_by_layer(mask)
    table = Table(show_header=False)
    for name, value in (
        ("relation", mask.relation),
        ("pack", f"{pack.name} ({pack.folder})"),
        ("digest", mask.digest),
        ("base", f"{metadata.base_model} {mask.base_digest}"),
        ("layers", f"{metadata.layers[0]} to {metadata.layers[1]}"),
        ("weights", f"{mask.weight_count:,}"),
        ("bits a weight", str(mask.bits_per_weight)),
        ("sparsity", f"{mask.sparsity:.2%}"),
        ("by layer", ", ".join(f"{layer}: {share:.2%}" for layer, share in by_layer.items())),
        ("method", metadata.method),
        ("threshold", "none" if metadata.threshold is None else str(metadata.threshold)),
        ("templates", "\n".join(metadata.templates)),
        ("data", f"{metadata.data_name} {metadata.data_digest}"),
        ("facts", ", ".join(f"{name}: {count}" for name, count in metadata.facts.items())),
        ("validation", ", ".join(f"{k}: {v:.4g}" for k, v in metadata.validation.items())),
        ("calibration", _calibration_text(metadata.calibration)),
        ("seed", str(metadata.seed)),
        ("made by", f"relata {metadata.tool_version}"),
    ):
        table.add_row(name, value)
    Console(soft_wrap=True).print(table, markup=False)


def verify(folder: Path | None) -> bool:
    """Check every file of the packs, print each problem, and say whether there was none."""
    sound = True
    console = Console(soft_wrap=True, highlight=False)
    for pack in _packs(folder):
        problems = pack.verify()
        for problem in problems:
            console.print(problem, markup=False)
        state = f"{len(problems)} problems" if problems else "sound"
        console.print(f"{pack.name}: {_count_text(pack)}, {state}", markup=False)
        sound = sound and not problems
    return sound


def cut_expectation(folder: Path, relation: str, *, threshold: float, out: Path) -> None:
    """Cut a mask of 8 bits a weight at a threshold; the mask of one bit goes into the pack `out`.

    The pack is made if there is none.

    Raises:
        UnknownRelationError: the pack does not have the relation.
        MaskValueError: the mask has one bit a weight already, the threshold is not from 0 to 1,
            or `out` is the pack itself, whose mask would be lost.
        MaskMismatchError: the pack `out` is of another base.
        MaskFileError: a pack or a mask's file is refused.
    """
    pack = MaskPack.open(folder)
    if out.resolve() == folder.resolve():
        raise MaskValueError(f"{out} holds the mask that is cut, which would be lost; name another")
    mask = pack.load(relation).at_threshold(threshold)
    if (out / MANIFEST_NAME).exists():
        add_to_pack(out, mask)
    else:
        write_pack(out, [mask], name=pack.name)
    Console(soft_wrap=True, highlight=False).print(
        f"{relation}: 1 bit a weight, {mask.sparsity:.2%} removed, in {out}", markup=False
    )


def _count_text(pack: MaskPack) -> str:
    count = f"{len(pack.relations)} masks"
    entries = pack.manifest.entries.values()
    if expectations := sum(entry.bits_per_weight == 8 for entry in entries):
        return f"{count}, {expectations} of them of 8 bits a weight"
    return count


def _calibration_text(calibration: Calibration | None) -> str:
    if calibration is None:
        return "none"
    return (
        f"P(true) = sigmoid({calibration.slope:.3g} * log-probability {calibration.intercept:+.3g})"
        f"\nlikely true from {calibration.threshold:.1%}: precision {calibration.precision:.1%}, "
        f"recall {calibration.recall:.1%}, F1 {calibration.f1:.3f} on validation facts"
        f"\nexpected calibration error {calibration.expected_calibration_error:.1%}, "
        f"Brier score {calibration.brier:.4f}, {calibration.candidates:,} candidates of "
        f"{calibration.subjects:,} subjects"
    )


def _packs(folder: Path | None) -> tuple[MaskPack, ...]:
    folders = (folder,) if folder is not None else load_settings().packs
    if not folders:
        raise SettingsError(
            "there is no mask pack: none is shipped with this installation; name one with --pack "
            "or RELATA_PACKS"
        )
    return tuple(MaskPack.open(place) for place in folders)


def _pack_of(relation: str, packs: Sequence[MaskPack]) -> MaskPack:
    for pack in packs:
        if relation in pack.manifest.entries:
            return pack
    raise UnknownRelationError(relation, {name for pack in packs for name in pack.relations})
