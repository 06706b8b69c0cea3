"""What can be asked, one file for each kind of question: from a checked body to an answer."""

from dataclasses import dataclass
from typing import Self

from app.features.completion import Completion
from app.features.feature import Feature, Task
from app.features.words import Words
from app.settings import Settings
from plm import BaseModel

__all__ = ["Feature", "Features", "Task"]


@dataclass(frozen=True, eq=False)
class Features:
    """The kinds of questions that a service answers."""

    completion: Completion

    @classmethod
    def of(cls, base: BaseModel, settings: Settings) -> Self:
        """All of them, for a base."""
        words = Words(base)
        return cls(completion=Completion(base, words))
