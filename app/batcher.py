"""Threads that own the model and take whatever waits when they are free."""

import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Generic, Protocol, TypeVar

from app.errors import NotReadyError, OverloadedError

logger = logging.getLogger(__name__)

Work = TypeVar("Work")
Asked_contra = TypeVar("Asked_contra", contravariant=True)
Ready = TypeVar("Ready")
Result = TypeVar("Result")

# Pieces of one job that a pass takes before it looks at the next job: a job of thousands then
# delays others by its share of a pass, and not by its length.
_SHARE = 16
# Jobs that a pass looks at without finding room, before it is closed.
_LOOKAHEAD = 64
# Once the queue was full, nothing is let in until this part of it is free: most of what would be
# refused in an overload is then refused before its body is read.
_ROOM_AGAIN = 1 / 8
# Weight of the newest pass in the running mean of seconds per piece of work.
_NEWEST = 0.1


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """What became of a job.

    Attributes:
        results: one for each piece of its work: the result, or the error that it ended in.
        queue_seconds: the longest wait of a piece until the model took it.
        infer_seconds: the longest pass that a piece was part of.
    """

    results: tuple[Result | Exception, ...]
    queue_seconds: float
    infer_seconds: float


@dataclass(frozen=True)
class Pass(Generic[Work]):
    """A pass that was run.

    Attributes:
        work: that was in it.
        weight: of that work.
        seconds: that it took.
    """

    work: tuple[Work, ...]
    weight: int
    seconds: float

    @property
    def pieces(self) -> int:
        """How many pieces of work it had."""
        return len(self.work)


@dataclass(frozen=True)
class Backlog:
    """What is being worked on.

    Attributes:
        questions: places of the queue that are taken.
        pieces: of work that wait for the model.
    """

    questions: int
    pieces: int


class Room(Protocol[Asked_contra]):
    """What is left of one pass."""

    def admit(self, work: Asked_contra) -> bool:
        """Take this too, if it fits; the first piece of work always does."""


@dataclass(eq=False)
class _Job(Generic[Work, Result]):
    work: Sequence[Work]
    submitted: float
    future: Future[Outcome[Result]] = field(default_factory=Future)
    results: list[Result | Exception | None] = field(init=False)
    taken: int = 0
    left: int = field(init=False)
    queue_seconds: float = 0.0
    infer_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.results = [None] * len(self.work)
        self.left = len(self.work)

    @property
    def waits(self) -> bool:
        """Whether a piece of it is still to be taken."""
        return self.taken < len(self.work) and not self.future.cancelled()

    def put(self, place: int, result: Result | Exception) -> None:
        self.results[place] = result
        self.left -= 1
        if self.left == 0 and self.future.set_running_or_notify_cancel():
            results = tuple(result for result in self.results if result is not None)
            self.future.set_result(Outcome(results, self.queue_seconds, self.infer_seconds))


@dataclass(frozen=True, eq=False)
class _Piece(Generic[Work, Result]):
    job: _Job[Work, Result]
    place: int

    @property
    def work(self) -> Work:
        return self.job.work[self.place]


class Batcher(Generic[Work, Ready, Result]):
    """Runs work in passes on threads of its own.

    There is no delay timer: while a pass runs the next one gathers, and once it is full it is
    prepared meanwhile. Jobs take turns, first come first served. A job whose future is cancelled
    leaves the queue.

    With several lanes full passes run side by side while more than one of them waits; a pass that
    is not crowded runs alone and may use the whole machine.

    Args:
        prepare: makes a pass ready for the model; called on any of the batcher's threads.
        run: answers a prepared pass, one result for each piece of work, and is told whether the
            pass runs alone; called on the lanes' threads only.
        room: makes the room of one pass.
        weigh: what a piece of work weighs.
        budget: weight of waiting work from which a pass is full.
        queue_size: questions accepted and not yet answered.
        queue_pieces: pieces of waiting work from which no question is accepted.
        lanes: passes that may run side by side.
        observe: told of each pass.
    """

    def __init__(
        self,
        *,
        prepare: Callable[[Sequence[Work]], Ready],
        run: Callable[[Ready, bool], Sequence[Result]],
        room: Callable[[], Room[Work]],
        weigh: Callable[[Work], int],
        budget: int,
        queue_size: int,
        queue_pieces: int,
        lanes: int = 1,
        observe: Callable[[Pass[Work]], None] = lambda _: None,
    ) -> None:
        self._prepare = prepare
        self._run = run
        self._room = room
        self._weigh = weigh
        self._budget = budget
        self._queue_size = queue_size
        self._queue_pieces = queue_pieces
        self._observe = observe
        self._jobs: deque[_Job[Work, Result]] = deque()
        self._changed = threading.Condition()
        # A job's pieces may be answered in several lanes at a time.
        self._answering = threading.Lock()
        self._lanes = lanes
        self._running = 0
        self._alone = False
        self._waiting = 0
        self._reserved = 0
        self._overflowed = False
        self._closing = False
        self._preparing = False
        self._ahead: tuple[list[_Piece[Work, Result]], Ready | Exception] | None = None
        self._seconds_each = 0.0
        self._threads = (
            *(
                threading.Thread(target=self._serve, args=(lane,), name="model", daemon=True)
                for lane in range(lanes)
            ),
            threading.Thread(target=self._prepare_ahead, name="prepare", daemon=True),
        )
        for thread in self._threads:
            thread.start()

    @contextmanager
    def reserve(self, count: int) -> Iterator[None]:
        """Hold `count` places of the queue while inside, before any work is put into a request.

        Raises:
            OverloadedError: there are not as many places free, or as much work waits as may; at
                once, nothing waits for a place.
            NotReadyError: the batcher was closed.
        """
        with self._changed:
            self._check_open()
            places = self._queue_size - self._reserved
            if count > places or self._waiting >= self._queue_pieces:
                self._overflowed = True
                raise self._overload()
            self._reserved += count
        try:
            yield
        finally:
            with self._changed:
                self._reserved -= count

    def refusal(self) -> OverloadedError | None:
        """Why a question that comes now is refused unread; None: it may find a place.

        It is when there is no place, and after that until an eighth of the queue is free.
        """
        with self._changed:
            full = self._reserved >= self._queue_size or self._waiting >= self._queue_pieces
            self._overflowed = full or (
                self._overflowed
                and (
                    self._reserved > (1 - _ROOM_AGAIN) * self._queue_size
                    or self._waiting > (1 - _ROOM_AGAIN) * self._queue_pieces
                )
            )
            return self._overload() if self._overflowed else None

    def submit(self, work: Sequence[Work]) -> Future[Outcome[Result]]:
        """Queue a job, one or more pieces of work, for which a place is reserved.

        Cancelling the future takes what was not begun out of the queue.

        Raises:
            NotReadyError: the batcher was closed.
            ValueError: there is no work.
        """
        if not work:
            raise ValueError("a job has at least one piece of work")
        job: _Job[Work, Result] = _Job(work, perf_counter())
        with self._changed:
            self._check_open()
            self._jobs.append(job)
            self._waiting += len(work)
            self._changed.notify_all()
        job.future.add_done_callback(
            lambda future: self._leave(job) if future.cancelled() else None
        )
        return job.future

    def backlog(self) -> Backlog:
        """What is being worked on now."""
        with self._changed:
            return Backlog(self._reserved, self._waiting)

    def close(self) -> None:
        """Take no more work, finish what was accepted, and end the threads."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _check_open(self) -> None:
        if self._closing:
            raise NotReadyError("the service is stopping; send the request again")

    def _overload(self) -> OverloadedError:
        seconds = max(self._waiting, self._reserved) * self._seconds_each
        return OverloadedError(
            self._reserved, self._queue_size, retry_after=max(1, math.ceil(seconds))
        )

    def _leave(self, job: _Job[Work, Result]) -> None:
        """Take what was not begun of a cancelled job out of the queue."""
        with self._changed:
            self._waiting -= len(job.work) - job.taken
            with suppress(ValueError):
                self._jobs.remove(job)
            self._changed.notify_all()

    def _serve(self, lane: int) -> None:
        while (taken := self._next(lane)) is not None:
            pieces, prepared, alone = taken
            self._answer(pieces, self._prepared(pieces) if prepared is None else prepared, alone)
            with self._changed:
                self._running -= 1
                self._alone = False
                self._changed.notify_all()

    def _next(
        self, lane: int
    ) -> tuple[list[_Piece[Work, Result]], Ready | Exception | None, bool] | None:
        """The next pass, prepared or not, and whether it runs alone; None once all is done.

        The first lane takes what there is. The others take full passes beside one that shares the
        machine.
        """
        with self._changed:
            while True:
                pieces, prepared = None, None
                if self._ahead is not None and (lane == 0 or (self._running and not self._alone)):
                    (pieces, prepared), self._ahead = self._ahead, None
                elif self._ahead is None and not self._preparing:
                    pieces = self._take() if lane == 0 else None
                    if self._closing and not pieces and not self._jobs:
                        return None
                if pieces:
                    self._running += 1
                    self._alone = self._running == 1 and (self._lanes == 1 or not self._full())
                    self._changed.notify_all()
                    return pieces, prepared, self._alone
                self._changed.wait()

    def _prepare_ahead(self) -> None:
        while True:
            with self._changed:
                while not (self._ahead is None and self._full()):
                    if self._closing and not self._jobs:
                        return
                    self._changed.wait()
                pieces = self._take()
                if not pieces:
                    continue
                # The model's thread waits for this pass rather than overtake it.
                self._preparing = True
            prepared = self._prepared(pieces)
            with self._changed:
                self._ahead = (pieces, prepared)
                self._preparing = False
                self._changed.notify_all()

    def _full(self) -> bool:
        """Whether what waits fills a pass: one that is not full stays open until it is needed."""
        weight = 0
        for job in self._jobs:
            if job.waits:
                for place in range(job.taken, len(job.work)):
                    weight += self._weigh(job.work[place])
                    if weight >= self._budget:
                        return True
        return False

    def _prepared(self, pieces: Sequence[_Piece[Work, Result]]) -> Ready | Exception:
        try:
            return self._prepare([piece.work for piece in pieces])
        except Exception as error:
            return error

    def _take(self) -> list[_Piece[Work, Result]]:
        now = perf_counter()
        pieces: list[_Piece[Work, Result]] = []
        room = self._room()
        turns = deque(job for job in self._jobs if job.waits)
        refused = 0
        while turns and refused < _LOOKAHEAD:
            job = turns.popleft()
            job.queue_seconds = now - job.submitted
            for _ in range(min(_SHARE, len(job.work) - job.taken)):
                if not room.admit(job.work[job.taken]):
                    refused += 1
                    break
                pieces.append(_Piece(job, job.taken))
                job.taken += 1
                self._waiting -= 1
            else:
                if job.waits:
                    turns.append(job)
        self._jobs = deque(job for job in self._jobs if job.waits)
        return pieces

    def _answer(
        self, pieces: Sequence[_Piece[Work, Result]], prepared: Ready | Exception, alone: bool
    ) -> None:
        started = perf_counter()
        try:
            if isinstance(prepared, Exception):
                raise prepared
            results = self._run(prepared, alone)
        except Exception as error:
            if len(pieces) == 1:
                with self._answering:
                    pieces[0].job.put(pieces[0].place, error)
                return
            # Who is at fault shows only one by one; the others get their answers.
            logger.warning("a pass of %d failed and is run one by one: %r", len(pieces), error)
            for piece in pieces:
                self._answer([piece], self._prepared([piece]), alone)
            return
        seconds = perf_counter() - started
        each = seconds / len(pieces) / (1 if alone else self._lanes)
        self._seconds_each += _NEWEST * (each - self._seconds_each)
        work = tuple(piece.work for piece in pieces)
        self._observe(Pass(work, sum(map(self._weigh, work)), seconds))
        with self._answering:
            for piece, result in zip(pieces, results, strict=True):
                piece.job.infer_seconds = max(piece.job.infer_seconds, seconds)
                piece.job.put(piece.place, result)
