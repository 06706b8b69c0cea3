"""The base and any number of masks for it, made by combining those of a pack."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, islice
from pathlib import Path

from app.settings import shipped_packs
from benchmarks.questions import long_prompt
from masks import Combine, CombinedMask, MaskPack, RelationMask, combine_masks
from plm import BaseModel, EncodedRow, Probe, Template, TopTokens

TOP_K = 10


@dataclass(frozen=True, eq=False)
class Specialist:
    """A mask and the template that it is asked with."""

    name: str
    mask: CombinedMask
    template: Template

    @classmethod
    def of(cls, parts: Sequence[RelationMask]) -> "Specialist":
        """The union of masks, its bits made, asked with the first one's template."""
        mask = combine_masks(parts, Combine("union"))
        next(iter(mask.packed.values()))
        template = Template.parse(parts[0].metadata.templates[0])
        return cls("+".join(part.relation for part in parts), mask, template)

    def row(self, base: BaseModel, subject: str, tokens: int = 0) -> EncodedRow:
        """The prompt about a subject, of at least so many tokens."""
        return long_prompt(base, self.template, subject, tokens).row

    def probe(self, base: BaseModel, subject: str, tokens: int = 0) -> Probe:
        """A question about a subject in at least so many tokens, under the mask."""
        return Probe(self.row(base, subject, tokens), self.mask, TopTokens(TOP_K, words=True))


def unmasked(probe: Probe) -> Probe:
    """The same question to the unmasked model."""
    return Probe(probe.row, None, probe.wanted)


def masks_of(pack: Path | None = None) -> list[RelationMask]:
    """The masks of a pack (default: the shipped one).

    Raises:
        ValueError: no pack.
    """
    folders = shipped_packs() if pack is None else (pack,)
    if not folders:
        raise ValueError("no pack is shipped with this checkout; name one")
    return list(MaskPack.open(folders[0]).load_all().values())


def specialists(count: int, pack: Path | None = None) -> list[Specialist]:
    """The masks of a pack (default: the shipped one), then unions of two, three, ... of them.

    Raises:
        ValueError: there are not as many, or no pack.
    """
    return specialists_of(masks_of(pack), count)


def specialists_of(masks: Sequence[RelationMask], count: int) -> list[Specialist]:
    """Masks, then unions of two, three, ... of them.

    Raises:
        ValueError: there are not as many.
    """
    made = [Specialist.of(parts) for parts in islice(_choices(masks), count)]
    if len(made) < count:
        raise ValueError(f"{len(masks)} masks give {len(made)} unions, not {count}")
    return made


def _choices(masks: Sequence[RelationMask]) -> Iterator[tuple[RelationMask, ...]]:
    return chain.from_iterable(combinations(masks, size) for size in range(1, len(masks) + 1))
