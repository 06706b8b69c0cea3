"""Imports files of LAMP's into a pack: all of them, or none."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from masks import (
    MANIFEST_NAME,
    MaskMismatchError,
    MaskPack,
    RelationMask,
    add_to_pack,
    check_relation_name,
    write_pack,
)
from plm import BaseModel
from training.data import RelationTemplates, select_templates
from training.importing.errors import LampError
from training.importing.lamp import lamp_mask, relation_of


@dataclass(frozen=True)
class LampImport:
    """What is to be imported, checked as far as names go when made.

    Attributes:
        files: path of each relation's file.
        templates: wordings of each relation.
        out: folder of the pack, which may be there already.
        replace: whether relations that the pack has are replaced.

    Raises:
        LampError: two files of one relation (case ignored), or a relation that the pack has.
        MaskFileError: there is a pack whose manifest is refused.
    """

    files: Mapping[str, Path]
    templates: Mapping[str, RelationTemplates]
    out: Path
    replace: bool = False

    @classmethod
    def of(
        cls,
        paths: Sequence[Path],
        templates: Mapping[str, RelationTemplates],
        out: Path,
        *,
        relation: str | None = None,
        replace: bool = False,
    ) -> "LampImport":
        """Find the relation of each file; `relation` is that of a single one.

        Raises:
            LampError: as the class, and: no file, a file whose relation is not known, or
                `relation` for several files.
            MaskValueError: a relation's name cannot be a mask's.
            DataError: a relation has no templates.
            MaskFileError: as the class.
        """
        if not paths:
            raise LampError("there is no file to import")
        if relation is not None and len(paths) > 1:
            raise LampError(
                f"--relation names one relation, but there are {len(paths)} files; import them one "
                "by one"
            )
        files: dict[str, Path] = {}
        for path in paths:
            found = check_relation_name(relation or relation_of(path))
            if (other := _same_but_case(found, files)) is not None:
                raise LampError(
                    f"{path} and {files[other]} are both of relation {other}; give one of them"
                )
            files[found] = path
        return cls(files, select_templates(templates, files), out, replace)

    def __post_init__(self) -> None:
        pack = self.existing()
        if pack is None:
            return
        for relation, path in self.files.items():
            other = _same_but_case(relation, pack.relations)
            if other is None:
                continue
            if other != relation:
                raise LampError(
                    f"{path}: pack {self.out} has relation {other}, and two names may not differ "
                    "only in case; give that name by --relation"
                )
            if not self.replace:
                raise LampError(
                    f"{path}: pack {self.out} has relation {relation} already; give --replace to "
                    "replace it, or another --out"
                )

    def existing(self) -> MaskPack | None:
        """The pack that is there, or None.

        Raises:
            LampError: there is something else.
            MaskFileError: its manifest is refused.
        """
        if self.out.exists() and not self.out.is_dir():
            raise LampError(f"{self.out} is no folder; a pack is one")
        return MaskPack.open(self.out) if (self.out / MANIFEST_NAME).exists() else None


def import_lamp(
    base: BaseModel, plan: LampImport, *, tell: Callable[[RelationMask], None] = lambda _: None
) -> MaskPack:
    """Read and check all files, and only then write their masks into the pack.

    Raises:
        LampError: a file is refused, or the pack's folder cannot be written.
        MaskMismatchError: the pack belongs to another base.
        MaskError: see `masks.write_pack` and `masks.add_to_pack`.
    """
    pack = plan.existing()
    if pack is not None and pack.base_digest != base.digest:
        raise MaskMismatchError(
            f"pack {plan.out} belongs to base {pack.base_model} ({pack.base_digest}), but base "
            f"{base.name} is {base.digest}; give another --out"
        )
    masks = []
    for relation, path in plan.files.items():
        mask = lamp_mask(base, path, relation=relation, templates=plan.templates[relation])
        tell(mask)
        masks.append(mask)
    try:
        if pack is None:
            return write_pack(plan.out, masks, name=plan.out.resolve().name)
        for mask in masks:
            pack = add_to_pack(plan.out, mask)
    except OSError as error:
        raise LampError(f"{plan.out} cannot be written ({error.strerror or error})") from error
    return pack


def _same_but_case(name: str, others: Mapping[str, object] | Sequence[str]) -> str | None:
    return next((other for other in others if other.casefold() == name.casefold()), None)
