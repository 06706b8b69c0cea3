"""`/masks`."""

from pydantic import Field

from app.schemas.strict import Outbound


class MaskFile(Outbound):
    """A mask file that is served."""

    relation: str
    pack: str
    file: str
    bytes: int
    sha256: str = Field(description="Of the file; in quotes, it is the file's ETag.")
    digest: str
    layers: tuple[int, int] = Field(description="First and last masked layer, counted from 1.")
    method: str
    threshold: float | None
    sparsity: float
    bits_per_weight: int = Field(
        description="1: each weight is kept or removed; 8: each is multiplied by a value / 255."
    )
    weights: int = Field(description="How many weights the mask decides on.")
    seed: int
    base: str = Field(description="Digest of the base model that it belongs to.")
    data: str = Field(description="Name of its training data.")
    data_digest: str
    tool_version: str


class UploadedMask(MaskFile):
    """A mask file that was uploaded just now."""

    persisted: bool = Field(description="Whether it is in RELATA_UPLOADS, for the next start.")
    replicated: bool | None = Field(
        description="Whether Redis has it for the other replicas; false: it will, once Redis "
        "answers; null: there is none."
    )


class RefusedMaskFile(Outbound):
    """A mask file that is not served."""

    file: str
    reason: str
    pack: str
    relation: str | None


class Masks(Outbound):
    """Every mask file that was found."""

    masks: list[MaskFile]
    refused: list[RefusedMaskFile]
