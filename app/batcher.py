"""One thread that owns the model and takes whatever waits when it is free."""

import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Generic, Protocol, TypeVar

from app.errors import NotReadyError, OverloadedError

logger = logging.getLogger(__name__)

Work = TypeVar("Work")
Asked_contra = TypeVar("Asked_contra", contravariant=True)
Result = TypeVar("Result")

# Weight of the newest batch in the running mean of seconds per query.
_NEWEST = 0.1


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """A result and what it cost.

    Attributes:
        result: of the work submitted.
        queue_seconds: from submission until the model took it.
        infer_seconds: of the batch it was part of.
    """

    result: Result
    queue_seconds: float
    infer_seconds: float


class Room(Protocol[Asked_contra]):
    """What is left of one batch."""

    def admit(self, work: Asked_contra) -> bool:
        """Take this too, if it fits; the first piece of work always does."""


@dataclass(frozen=True, eq=False)
class _Ticket(Generic[Work, Result]):
    work: Work
    future: Future[Outcome[Result]]
    submitted: float


class Batcher(Generic[Work, Result]):
    """Runs work in batches, first come first served, on a thread of its own.

    There is no delay timer: while a batch runs the next one gathers. Work that a batch has no
    room for keeps its place for the next one, which always begins with what came first.

    Args:
        run: answers a batch, one result for each piece of work; called on the batcher's thread
            alone.
        room: makes the room of one batch.
        queue_size: work accepted and not yet answered.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Work]], Sequence[Result]],
        *,
        room: Callable[[], Room[Work]],
        queue_size: int,
    ) -> None:
        self._run = run
        self._room = room
        self._queue_size = queue_size
        self._waiting: deque[_Ticket[Work, Result]] = deque()
        self._changed = threading.Condition()
        self._reserved = 0
        self._closing = False
        self._seconds_each = 0.0
        self._thread = threading.Thread(target=self._serve, name="model", daemon=True)
        self._thread.start()

    @contextmanager
    def reserve(self, count: int) -> Iterator[None]:
        """Hold `count` places of the queue while inside, before any work is put into a request.

        Raises:
            OverloadedError: there are not as many places free; at once, nothing waits for one.
            NotReadyError: the batcher was closed.
        """
        with self._changed:
            self._check_open()
            if self._reserved + count > self._queue_size:
                seconds = self._reserved * self._seconds_each
                raise OverloadedError(
                    self._reserved, self._queue_size, retry_after=max(1, math.ceil(seconds))
                )
            self._reserved += count
        try:
            yield
        finally:
            with self._changed:
                self._reserved -= count

    def submit(self, work: Sequence[Work]) -> list[Future[Outcome[Result]]]:
        """Queue work for which places are reserved; the futures are in the same order.

        A future that is cancelled before its batch starts is not run.

        Raises:
            NotReadyError: the batcher was closed.
        """
        now = perf_counter()
        tickets: list[_Ticket[Work, Result]] = [_Ticket(item, Future(), now) for item in work]
        with self._changed:
            self._check_open()
            self._waiting.extend(tickets)
            self._changed.notify()
        return [ticket.future for ticket in tickets]

    def close(self) -> None:
        """Take no more work, finish what was accepted, and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _check_open(self) -> None:
        if self._closing:
            raise NotReadyError("the service is stopping; send the request again")

    def _serve(self) -> None:
        while batch := self._next_batch():
            self._answer(batch)

    def _next_batch(self) -> list[_Ticket[Work, Result]]:
        """The next batch; empty once closed and all is done."""
        with self._changed:
            while True:
                if batch := self._take():
                    return batch
                if self._closing:
                    return []
                self._changed.wait()

    def _take(self) -> list[_Ticket[Work, Result]]:
        batch: list[_Ticket[Work, Result]] = []
        left: deque[_Ticket[Work, Result]] = deque()
        room = self._room()
        for ticket in self._waiting:
            if not room.admit(ticket.work):
                left.append(ticket)
            elif ticket.future.set_running_or_notify_cancel():
                batch.append(ticket)
        self._waiting = left
        return batch

    def _answer(self, batch: list[_Ticket[Work, Result]]) -> None:
        started = perf_counter()
        try:
            results = self._run([ticket.work for ticket in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            # Who is at fault shows only one by one; the others get their answers.
            logger.warning("a batch of %d failed and is run one by one: %r", len(batch), error)
            for ticket in batch:
                self._answer([ticket])
            return
        seconds = perf_counter() - started
        self._seconds_each += _NEWEST * (seconds / len(batch) - self._seconds_each)
        for ticket, result in zip(batch, results, strict=True):
            ticket.future.set_result(Outcome(result, started - ticket.submitted, seconds))
