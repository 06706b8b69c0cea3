"""`GET /relations`."""

from pydantic import Field

from app.schemas.strict import Outbound


class Relation(Outbound):
    """A relation that can be asked for."""

    name: str
    templates: list[str] = Field(description="The first is the default of /complete.")
    sparsity: float = Field(
        description="Share of the covered weights that its mask removes; at 8 bits a weight the "
        "share on average."
    )
    validation: dict[str, float] = Field(description="Metrics on facts not trained on.")
    facts: dict[str, int] = Field(description="How many facts each split of its data held.")
    pack: str
    digest: str = Field(description="Identity of the masked model.")


class CalibrationInfo(Outbound):
    """From log-probabilities to probabilities of being true, as fitted on validation facts."""

    slope: float
    intercept: float
    threshold: float = Field(description="The probability from which an object is likely true.")
    subjects: int
    candidates: int
    facts: int
    precision: float
    recall: float
    f1: float
    expected_calibration_error: float
    brier: float


class SimilarRelation(Outbound):
    """A relation whose mask is much like that of another."""

    name: str
    kept: float = Field(description="Jaccard index of the weights kept.")
    removed: float = Field(description="Jaccard index of the weights removed.")
    agreement: float = Field(description="Share of the weights that both decide alike on.")


class RelationDetail(Relation):
    """A relation, its mask in detail, and the relations most like it."""

    method: str
    layers: tuple[int, int] = Field(description="First and last masked layer, counted from 1.")
    bits_per_weight: int = Field(
        description="1: each weight is kept or removed; 8: each is multiplied by a value / 255, "
        "and the mask neither combines with others nor is compared with them."
    )
    sparsity_by_layer: dict[int, float]
    sparsity_by_role: dict[str, float] = Field(
        description="By kind of matrix: query, key, value and so on."
    )
    calibration: CalibrationInfo | None = Field(
        description="null: nothing says how likely an object is true."
    )
    similar: list[SimilarRelation] = Field(
        description="The ten whose masks keep the most in common with it, the most alike first; "
        "masks of 8 bits a weight, which keep none, are left out."
    )


class Relations(Outbound):
    """All relations, in order of name."""

    relations: list[Relation]
