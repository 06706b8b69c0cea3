"""`GET /masks`."""

from pydantic import Field

from app.schemas.strict import Outbound


class MaskFile(Outbound):
    """A mask file that is served."""

    relation: str
    pack: str
    file: str
    bytes: int
    digest: str
    layers: tuple[int, int] = Field(description="First and last masked layer, counted from 1.")
    method: str
    threshold: float | None
    sparsity: float
    weights: int = Field(description="How many weights the mask decides on.")
    seed: int
    base: str = Field(description="Digest of the base model that it belongs to.")
    data: str = Field(description="Name of its training data.")
    data_digest: str
    tool_version: str


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
