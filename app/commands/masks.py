"""`relata masks`: look at packs and check them. Needs no model, and imports none."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from app.errors import SettingsError
from app.settings import load_settings
from masks import Calibration, MaskPack, UnknownRelationError, sparsity_by_layer


def show_list(folder: Path | None) -> None:
    """List the relations of the packs as their manifests have them."""
    table = Table()
    for column in ("relation", "pack", "base"):
        table.add_column(column)
    for column in ("sparsity", "facts"):
        table.add_column(column, justify="right")
    for pack in _packs(folder):
        for relation in pack.relations:
            entry = pack.manifest.entries[relation]
            facts = sum(entry.facts.values())
            table.add_row(relation, pack.name, pack.base_model, f"{entry.sparsity:.2%}", str(facts))
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
        console.print(f"{pack.name}: {len(pack.relations)} masks, {state}", markup=False)
        sound = sound and not problems
    return sound


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
