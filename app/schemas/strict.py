"""The two kinds of models: strict ones for what comes in, plain ones for what goes out."""

from pydantic import BaseModel, ConfigDict


class Inbound(BaseModel):
    """Part of a request: unknown fields are refused, and no type is turned into another."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Outbound(BaseModel):
    """Part of an answer."""

    model_config = ConfigDict(frozen=True)
