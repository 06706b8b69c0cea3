"""From probes to readings: the queue, the passes over the model, and their limits."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from app.batcher import Backlog, Batcher, Outcome
from app.errors import TooManyRowsError
from app.room import PassRoom
from app.settings import Settings
from plm import Engine, PreparedPass, Probe, Reading


@dataclass(frozen=True, eq=False)
class Answered:
    """What became of one question's probes.

    Attributes:
        readings: one for each probe, or the error that it ended in.
        queue_seconds: the longest wait of a probe for the model.
        infer_seconds: the longest pass that a probe was part of.
    """

    readings: tuple[Reading | Exception, ...]
    queue_seconds: float
    infer_seconds: float


class Inference:
    """Answers probes of any number of questions at once.

    Attributes:
        engine: the model and its mask sets.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self._max_rows = settings.max_rows
        self._batcher: Batcher[Probe, PreparedPass, Reading] = Batcher(
            prepare=engine.prepare,
            run=engine.run,
            room=lambda: PassRoom(settings.token_budget),
            weigh=lambda probe: len(probe.row.input_ids),
            budget=settings.token_budget,
            queue_size=settings.queue_size,
            queue_pieces=settings.queue_rows,
        )
        self.reserve = self._batcher.reserve

    async def read(self, questions: Sequence[Sequence[Probe]]) -> list[Answered]:
        """The readings of each question's probes; places must be reserved.

        Cancelling takes what was not begun out of the queue.

        Raises:
            TooManyRowsError: they are more than one request may ask for.
            NotReadyError: the service is stopping.
        """
        rows = sum(len(probes) for probes in questions)
        if rows > self._max_rows:
            raise TooManyRowsError(rows, self._max_rows)
        probes = [probe for question in questions for probe in question]
        if not probes:
            return []
        outcome = await asyncio.wrap_future(self._batcher.submit(probes))
        return _by_question(questions, outcome)

    def read_now(self, probes: Sequence[Probe]) -> list[Reading]:
        """The readings, made on the calling thread, for use without a server."""
        return self.engine.run(self.engine.prepare(probes))

    def warm_up(self, probes: Sequence[Probe]) -> None:
        """Answer probes as a request would, and wait for the readings."""
        with self._batcher.reserve(1):
            for reading in self._batcher.submit(probes).result().results:
                if isinstance(reading, Exception):
                    raise reading

    def backlog(self) -> Backlog:
        """What is being worked on now."""
        return self._batcher.backlog()

    def close(self) -> None:
        """Take no more probes, and finish those that were accepted."""
        self._batcher.close()


def _by_question(questions: Sequence[Sequence[Probe]], outcome: Outcome[Reading]) -> list[Answered]:
    answered = []
    start = 0
    for question in questions:
        stop = start + len(question)
        readings = outcome.results[start:stop]
        answered.append(Answered(readings, outcome.queue_seconds, outcome.infer_seconds))
        start = stop
    return answered
