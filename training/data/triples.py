"""The knowledge triple `<subject, relation, object>` and what makes two of them the same fact."""

from dataclasses import dataclass

from plm import fold_text
from training.data.errors import DataError

FactKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True, order=True)
class Triple:
    """One fact, spelt as its source spells it.

    Raises:
        DataError: a field is empty or blank.
    """

    subject: str
    relation: str
    object: str

    def __post_init__(self) -> None:
        for role, text in (
            ("subject", self.subject),
            ("relation", self.relation),
            ("object", self.object),
        ):
            if not text.strip():
                raise DataError(f"a fact needs a {role} that is not empty: {self!r}")

    @property
    def key(self) -> FactKey:
        """Identity of the fact: `Paris isA  City` and `paris IsA city` are one fact."""
        return fold_text(self.subject), fold_text(self.relation), fold_text(self.object)
