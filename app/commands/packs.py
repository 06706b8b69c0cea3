"""`relata pack`: send packs and fetch them. Needs no model, unless a base is to be compared."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from masks import MaskPack
from masks.transfer import Delivery, Offer, parse_place, push_pack


def push(folder: Path, target: str, *, replace: bool, private: bool) -> None:
    """Verify a pack, send it, and print its digest and where it lies.

    Raises:
        MaskError: the pack is not sound, or cannot be sent there.
    """
    place = parse_place(target, to_write=True, private=private or None)
    delivery = push_pack(folder, place, replace=replace)
    pack = MaskPack.open(folder)
    _report(pack, delivery, pack.digest)


def pull(
    source: str,
    folder: Path,
    *,
    relations: Sequence[str],
    expected: str | None,
    base: str | None,
    replace: bool,
) -> None:
    """Fetch a pack, or some of its relations, and print its digest and where it lies.

    `expected` and `base` are held against the whole pack before any mask is fetched.

    Raises:
        MaskError: the pack is refused, or cannot be fetched.
        BaseModelError: there is no such base.
    """
    offer = Offer.of(parse_place(source))
    whole = offer.manifest.digest
    if expected is not None:
        offer.check_digest(expected)
    if relations:
        offer = offer.only(relations)
    if base is not None:
        offer.check_base(base, _base_digest(base))
    delivery = offer.fetch(folder, replace=replace)
    _report(MaskPack.open(folder), delivery, whole)


def _base_digest(name: str) -> str:
    # The digest is of all weights, so that there is no way around reading them; imported here, as
    # torch takes seconds.
    from plm import load_base  # noqa: PLC0415

    return load_base(name, device="cpu").digest


def _report(pack: MaskPack, delivery: Delivery, whole: str) -> None:
    count = len(pack.relations)
    state = "already there" if delivery.already_there else "done"
    part = "" if pack.digest == whole else f" (of these relations; the whole pack: {whole})"
    console = Console(soft_wrap=True, highlight=False)
    for line in (
        f"{pack.name}: {count} mask{'' if count == 1 else 's'} for {pack.base_model}, {state}",
        f"digest {pack.digest}{part}",
        f"place  {delivery.place}",
    ):
        console.print(line, markup=False)
