"""`GET /info`, `/health` and `/ready`."""

from typing import Any, Literal

from pydantic import Field

from app.schemas.strict import Outbound


class BaseInfo(Outbound):
    """The resident base model."""

    name: str
    digest: str
    architecture: str
    layers: int
    hidden_size: int
    vocabulary: int
    max_tokens: int = Field(description="Tokens that a prompt may have.")
    mask_token: str


class PackInfo(Outbound):
    """A mask pack."""

    name: str
    base_model: str
    relations: int = Field(description="Relations that its manifest lists.")


class Limits(Outbound):
    """What one request may ask for."""

    body_bytes: int
    queries: int
    completions: int
    candidates: int = Field(description="Candidates that one request may have ranked.")
    rows: int = Field(description="Sentences run through the model for one request.")
    relations: int = Field(description="Relations that one query may combine.")
    text_characters: int = Field(description="Length of a subject, template or word.")
    queue_size: int = Field(description="Questions accepted and not yet answered.")
    queue_rows: int = Field(
        description="Sentences waiting for the model from which no question is accepted."
    )
    timeout_seconds: float = Field(description="Most that X-Request-Timeout may ask for.")


class Info(Outbound):
    """What runs here."""

    version: str
    base: BaseInfo
    device: str
    dtype: str
    threads: int
    packs: list[PackInfo]
    limits: Limits
    settings: dict[str, Any]


class Alive(Outbound):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(Outbound):
    """Queries are answered."""

    status: Literal["ready"] = "ready"
