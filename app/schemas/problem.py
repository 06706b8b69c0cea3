"""The form of every error: RFC 9457 problem details."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Fault(BaseModel):
    """What is wrong with one field."""

    pointer: str = Field(description="Where the field stands in the body, as a JSON pointer.")
    detail: str = Field(description="What is wrong and what would be right.")


class Problem(BaseModel):
    """A problem (RFC 9457). Some types have further members; docs/api.md lists them."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:relata:problem:unknown-relation",
                    "title": "Unknown relation",
                    "status": 404,
                    "detail": "There is no relation 'Isa'; did you mean 'IsA'?",
                    "known": ["IsA", "MadeOf"],
                    "nearest": "IsA",
                }
            ]
        },
    )

    type: str = Field(description="A URI that stays the same for this kind of problem.")
    title: str = Field(description="The kind of problem.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong this time, and what would be right.")
    errors: list[Fault] | None = Field(
        None, description="The fields at fault; left out where no field is."
    )

    def content(self) -> dict[str, Any]:
        """The members as JSON values; `errors` only where there are some."""
        return self.model_dump(mode="json", exclude={"errors"} if self.errors is None else None)
