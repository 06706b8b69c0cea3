"""What can be asked, one file for each kind of question: from a checked body to an answer."""

from dataclasses import dataclass
from typing import Self

from app.features.candidates import CandidateSets
from app.features.choices import Choices
from app.features.completion import Completion
from app.features.feature import Feature, Task
from app.features.links import Links
from app.features.paths import Paths
from app.features.triples import Triples
from app.features.words import Words
from app.knowledge import Knowledge
from app.settings import Settings
from plm import BaseModel

__all__ = ["Feature", "Features", "Task"]


@dataclass(frozen=True, eq=False)
class Features:
    """The kinds of questions that a service answers."""

    completion: Completion
    links: Links
    triples: Triples
    paths: Paths
    choices: Choices

    @classmethod
    def of(cls, base: BaseModel, settings: Settings, knowledge: Knowledge) -> Self:
        """All of them, for a base and what is known."""
        words = Words(base)
        sets = CandidateSets(base)
        return cls(
            completion=Completion(base, words),
            links=Links(base, sets, knowledge),
            triples=Triples(base),
            paths=Paths(base, sets),
            choices=Choices(base, settings.max_rows),
        )
