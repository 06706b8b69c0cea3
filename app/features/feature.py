"""What the service needs to know of a kind of question."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from app.catalogue import Catalogue
from app.schemas.strict import Outbound
from plm import Probe, Reading

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Size:
    """What an answer will hold at most, for the limits on a request.

    Attributes:
        items: listed in it.
        candidates: scored one by one for it.
    """

    items: int
    candidates: int = 0


class Task(Protocol):
    """A question that was found to be right, ready for the model."""

    @property
    def probes(self) -> Sequence[Probe]:
        """What the model is asked; one or more."""

    @property
    def size(self) -> Size:
        """What its answer will hold at most."""

    def advance(self, readings: Sequence[Reading]) -> "Task | Outbound":
        """The answer, given one reading for each probe; or what the model is asked next.

        Raises:
            AppError: what the readings show to be wrong with the question.
        """


class Feature(Protocol):
    """A kind of question. Holds nothing of any request; called from several threads.

    Attributes:
        kind: its name in metrics, e.g. `complete`.
        many: the field of a body that holds several such questions, e.g. `queries`.
    """

    kind: str
    many: str

    def prepare(self, body: object, catalogue: Catalogue, path: Path = ()) -> Task:
        """Check a decoded body and make a task of it; `path` is where it stands in the request.

        Raises:
            AppError, UnknownRelationError: the question is refused; the error says what is wrong
                and what would be right.
        """


@runtime_checkable
class Summarising(Protocol):
    """A kind of question that has something to say of many answers together."""

    def summary(self, answers: Sequence[Outbound | Exception]) -> Outbound | None:
        """What stands beside the results, field by field; None: nothing does."""
