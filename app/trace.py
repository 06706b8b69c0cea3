"""What is known of a request by its end, for its line in the log and for the metrics."""

from collections import Counter
from dataclasses import dataclass, field

from starlette.types import Scope

from app.service import Timing


@dataclass
class Trace:
    """Filled in on the way of a request.

    Attributes:
        request_id: its X-Request-ID.
        question_path: the path, if questions are asked there; else empty.
        kind: what kind of question it asked; empty: none, or it was refused before that was seen.
        questions: how many; one, unless the body holds many.
        outcomes: how many were answered, refused or failed.
        timing: where its time went; None: it was not answered.
    """

    request_id: str
    question_path: str = ""
    kind: str = ""
    questions: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    timing: Timing | None = None

    def fields(self) -> dict[str, object]:
        """What the log says of it, beside what it says of every request; times in ms."""
        fields: dict[str, object] = {}
        if self.kind:
            fields |= {"kind": self.kind, "questions": self.questions}
        if self.timing is not None:
            fields["queue_ms"] = round(self.timing.queue * 1000, 2)
            fields["tokenize_ms"] = round(self.timing.tokenize * 1000, 2)
            fields["infer_ms"] = round(self.timing.infer * 1000, 2)
        return fields


def trace_of(scope: Scope) -> Trace:
    """The trace of a request, which `app.tracing` began."""
    trace: Trace = scope["state"]["trace"]
    return trace
