"""`GET /relations`."""

from pydantic import Field

from app.schemas.strict import Outbound


class Relation(Outbound):
    """A relation that can be asked for."""

    name: str
    templates: list[str] = Field(description="The first is the default of /complete.")
    sparsity: float = Field(description="Share of the covered weights that its mask removes.")
    validation: dict[str, float] = Field(description="Metrics on facts not trained on.")
    facts: dict[str, int] = Field(description="How many facts each split of its data held.")
    pack: str
    digest: str = Field(description="Identity of the masked model.")


class Relations(Outbound):
    """All relations, in order of name."""

    relations: list[Relation]
