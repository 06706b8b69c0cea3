"""Body of `relata masks import-lamp`."""

from collections.abc import Sequence
from pathlib import Path

from masks import RelationMask
from plm import load_base
from training.console import console
from training.data import load_templates
from training.importing.names import parse_lamp_name
from training.importing.packs import LampImport, import_lamp


def import_lamp_command(
    *,
    files: Sequence[Path],
    base: str,
    out: Path,
    relation: str | None = None,
    templates: Path | None = None,
    replace: bool = False,
) -> None:
    """Import files of LAMP's into a pack; nothing is written unless all of them hold.

    Raises:
        LampError, DataError, MaskError, BaseModelError: see `training.importing.packs`.
    """
    wordings = load_templates() | (load_templates(templates) if templates else {})
    plan = LampImport.of(files, wordings, out, relation=relation, replace=replace)
    # A mask is made from shapes and a digest; a GPU would help with neither.
    model = load_base(base, device="cpu")

    def tell(mask: RelationMask) -> None:
        first, last = mask.metadata.layers
        path = plan.files[mask.relation]
        console.print(
            f"{mask.relation}: layers {first} to {last}, {mask.sparsity:.2%} of the weights "
            f"removed, from {path.name}",
            markup=False,
        )
        name = parse_lamp_name(path.name)
        if name is not None and name.model != model.name.rpartition("/")[2]:
            console.print(
                f"  it was made for {name.model}: make sure that {model.name} has its weights",
                style="yellow",
                markup=False,
            )

    pack = import_lamp(model, plan, tell=tell)
    console.print(f"{len(pack.relations)} masks in {pack.folder}", markup=False)
