"""Rows to answers: a window of rows at a time, its passes sorted by mask."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from app.errors import AppError
from app.features.completion import CompletionTask
from app.features.specialise import relations_of
from app.fill.answers import Answered
from app.fill.options import FillOptions
from app.fill.reading import Record
from app.lanes import Lanes
from app.room import PassRoom
from app.schemas.completion import CompletionAnswer, CompletionResponse
from app.service import Service
from masks import UnknownRelationError
from plm import Probe, Reading

# Rows that are sorted by mask together, and are lost at most when a run is broken off (and as many
# that are on their way).
WINDOW_ROWS = 2048


@dataclass(frozen=True, eq=False)
class Window:
    """Rows on their way.

    Attributes:
        records: the rows.
        places: for each row the question that it asks, by place; rows that ask the same share one.
        questions: what is asked, or the error that a question has instead.
        passes: places of the questions of each pass, and its readings to come.
    """

    records: tuple[Record, ...]
    places: tuple[int, ...]
    questions: tuple[CompletionTask | str, ...]
    passes: tuple[tuple[tuple[int, ...], "Future[list[Reading]]"], ...]


class Asker:
    """Asks the model for windows of rows; passes run on threads of their own.

    Args:
        service: the model and its masks; its own queue is not used.
        options: what is asked, and which fields of a row say the rest.
    """

    def __init__(self, service: Service, options: FillOptions) -> None:
        self._service = service
        self._subject = options.subject_column
        self._relation = None if options.relation is not None else options.relation_column
        self._common = options.common()
        self._lanes = Lanes.of(service.engine.base, service.settings)
        self._pool = ThreadPoolExecutor(self._lanes.count, "filling")

    def answer(self, rows: Iterable[Record], window_rows: int) -> Iterator[list[Answered]]:
        """The rows with their answers, a window at a time.

        A window is prepared while the model works on the one before.
        """
        rows = iter(rows)
        before = None
        while records := list(islice(rows, window_rows)):
            window = self.begin(records)
            if before is not None:
                yield self.end(before)
            before = window
        if before is not None:
            yield self.end(before)

    def begin(self, records: Sequence[Record]) -> Window:
        """Prepare rows, and send their passes to the model."""
        asked: dict[object, int] = {}
        questions: list[CompletionTask | str] = []
        places = []
        for record in records:
            body = self._body(record)
            key = (_hashable(body["subject"]), _hashable(body["relation"]))
            if key not in asked:
                asked[key] = len(questions)
                questions.append(self._prepare(body))
            places.append(asked[key])
        passes = tuple(
            (part, self._pool.submit(self._run, [_probe(questions[place]) for place in part]))
            for part in self._passes(questions)
        )
        return Window(tuple(records), tuple(places), tuple(questions), passes)

    def end(self, window: Window) -> list[Answered]:
        """The rows in their order, each with its completions or its error; waits for the model."""
        answers: dict[int, Sequence[CompletionResponse]] = {}
        for part, future in window.passes:
            for place, reading in zip(part, future.result(), strict=True):
                task = window.questions[place]
                assert isinstance(task, CompletionTask)
                answer: CompletionAnswer = task.advance([reading])
                answers[place] = answer.completions
        rows = []
        for record, place in zip(window.records, window.places, strict=True):
            question = window.questions[place]
            error = question if isinstance(question, str) else None
            rows.append((record, answers.get(place, ()), error))
        return rows

    def close(self) -> None:
        """Wait for what runs."""
        self._pool.shutdown(cancel_futures=True)

    def _body(self, record: Record) -> dict[str, object]:
        body = {"subject": record.get(self._subject), **self._common}
        if self._relation is not None:
            value = record.get(self._relation)
            body["relation"] = relations_of(value) if isinstance(value, str) else value
        return body

    def _prepare(self, body: Mapping[str, object]) -> CompletionTask | str:
        try:
            return self._service.features.completion.prepare(body, self._service.catalogue)
        except (AppError, UnknownRelationError) as error:
            return str(error)

    def _passes(self, questions: Sequence[CompletionTask | str]) -> list[tuple[int, ...]]:
        """Places of the questions of each pass: of one mask where that fills it."""
        probes = {
            place: _probe(question)
            for place, question in enumerate(questions)
            if not isinstance(question, str)
        }
        parts: list[list[int]] = []
        room: PassRoom | None = None
        for place in sorted(probes, key=lambda place: (_mask(probes[place]), place)):
            probe = probes[place]
            if room is None or not room.admit(probe):
                room = PassRoom(self._service.settings.token_budget)
                room.admit(probe)
                parts.append([])
            parts[-1].append(place)
        return [tuple(part) for part in parts]

    def _run(self, probes: Sequence[Probe]) -> list[Reading]:
        self._lanes.take(alone=False)
        engine = self._service.engine
        return engine.run(engine.prepare(probes))


def _probe(question: CompletionTask | str) -> Probe:
    assert isinstance(question, CompletionTask)
    return question.probes[0]


def _mask(probe: Probe) -> tuple[str, int]:
    """What probes of one pass share, and then their length."""
    return "" if probe.mask is None else probe.mask.digest, len(probe.row.input_ids)


def _hashable(value: object) -> object:
    """A value that tells two questions apart; what no question may hold is told apart too."""
    return value if isinstance(value, str) or value is None else repr(value)
