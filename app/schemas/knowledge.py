"""`GET /knowledge`."""

from pydantic import Field

from app.schemas.strict import Outbound


class KnownRelation(Outbound):
    """A relation of a knowledge base."""

    name: str
    triples: int
    subjects: int
    objects: int


class BadFactLine(Outbound):
    """A line of a file that is no fact."""

    line: int = Field(description="Counted from 1.")
    reason: str


class KnowledgeBaseInfo(Outbound):
    """A loaded knowledge base."""

    name: str = Field(description="The file's name without its ending.")
    file: str
    format: str
    digest: str = Field(description="sha256 of the file.")
    triples: int = Field(description="Distinct facts.")
    entities: int = Field(description="Distinct subjects and objects.")
    subjects: int
    objects: int
    relations: list[KnownRelation]
    duplicates: int = Field(description="Lines that repeat a fact.")
    bad_lines: int = Field(description="Lines that are no fact.")
    first_bad_lines: list[BadFactLine] = Field(description="The first hundred of them.")


class KnowledgeBases(Outbound):
    """All knowledge bases, in the order given."""

    knowledge: list[KnowledgeBaseInfo]
