"""What is asked of every row."""

from dataclasses import dataclass

from app.features.specialise import relations_of


@dataclass(frozen=True)
class FillOptions:
    """What is asked of every row; the fields of a body of `/complete`, and where rows have them.

    Attributes:
        subject_column: field with the subject.
        relation_column: field with the relation, or with several that commas separate.
        relation: of all rows; then rows need no field for it.
        combine: how several relations' masks become one.
        top_k: completions of each row.
        template: a sentence with [X] and [Y]; None is the relation's own.
        masked: False asks the unmasked model.
        targets: words that are ranked; None for all.
        likely: only completions that are likely true.
    """

    subject_column: str = "subject"
    relation_column: str = "relation"
    relation: str | None = None
    combine: str | None = None
    top_k: int = 1
    template: str | None = None
    masked: bool = True
    targets: tuple[str, ...] | None = None
    likely: bool = False

    def common(self) -> dict[str, object]:
        """What is the same in the questions of all rows."""
        same: dict[str, object] = {
            "combine": self.combine,
            "top_k": self.top_k,
            "template": self.template,
            "masked": self.masked,
            "targets": None if self.targets is None else list(self.targets),
            "likely": self.likely,
        }
        if self.relation is not None:
            same["relation"] = relations_of(self.relation)
        return same
