"""The thread that owns the model: what it takes, what it refuses, how it ends."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing

import pytest

from app.batcher import Backlog, Batcher, Outcome, Pass
from app.errors import NotReadyError, OverloadedError

Numbers = Batcher[int, tuple[int, ...], int]


class Model:
    """Doubles numbers once it is let go; refuses negative ones."""

    def __init__(self) -> None:
        self.passes: list[list[int]] = []
        self.prepared: list[list[int]] = []
        self.alone: list[bool] = []
        self.started = threading.Event()
        self.go = threading.Event()

    def prepare(self, work: Sequence[int]) -> tuple[int, ...]:
        if 13 in work:
            raise ValueError("thirteen")
        self.prepared.append(list(work))
        return tuple(work)

    def run(self, work: tuple[int, ...], alone: bool) -> list[int]:
        self.passes.append(list(work))
        self.alone.append(alone)
        self.started.set()
        assert self.go.wait(30)
        if any(number < 0 for number in work):
            raise ValueError("negative")
        return [2 * number for number in work]


@pytest.fixture
def model() -> Iterator[Model]:
    model = Model()
    yield model
    model.go.set()


class Sum:
    """Room for numbers up to a sum, and for any first number."""

    def __init__(self, budget: int) -> None:
        self.left = budget
        self.empty = True

    def admit(self, work: int) -> bool:
        fits = self.empty or abs(work) <= self.left
        if fits:
            self.left -= abs(work)
            self.empty = False
        return fits


def _batcher(
    model: Model,
    budget: int = 1000,
    size: int = 100,
    pieces: int = 1000,
    *,
    lanes: int = 1,
    observe: Callable[[Pass], None] = lambda _: None,
) -> Numbers:
    return Batcher(
        prepare=model.prepare,
        run=model.run,
        room=lambda: Sum(budget),
        weigh=abs,
        budget=budget,
        queue_size=size,
        queue_pieces=pieces,
        lanes=lanes,
        observe=observe,
    )


def _results(*futures: Future[Outcome[int]]) -> list[list[int | Exception]]:
    return [list(future.result(30).results) for future in futures]


def _hold(batcher: Numbers, model: Model) -> Future[Outcome[int]]:
    """Occupy the model, so that what is submitted next waits."""
    future = batcher.submit([1])
    assert model.started.wait(30)
    return future


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_what_waits_becomes_one_pass_in_the_order_it_came(model: Model) -> None:
    with closing(_batcher(model)) as batcher:
        held = _hold(batcher, model)
        jobs = [batcher.submit([2, 3]), batcher.submit([4])]
        model.go.set()
        assert _results(held, *jobs) == [[2], [4, 6], [8]]
    assert model.passes == [[1], [2, 3, 4]]


def test_what_has_no_room_keeps_its_place(model: Model) -> None:
    with closing(_batcher(model, budget=10)) as batcher:
        _hold(batcher, model)
        # 11 has room in no pass and runs alone; the 4 of another job fits beside the 6.
        jobs = [batcher.submit([6, 5, 11]), batcher.submit([4, 3])]
        model.go.set()
        assert _results(*jobs) == [[12, 10, 22], [8, 6]]
    assert model.passes == [[1], [6, 4], [5, 3], [11]]


def test_a_large_job_leaves_room_for_others(model: Model) -> None:
    with closing(_batcher(model, budget=40)) as batcher:
        _hold(batcher, model)
        large, small = batcher.submit([1] * 100), batcher.submit([7])
        model.go.set()
        assert _results(small, large) == [[14], [2] * 100]
    assert 7 in model.passes[1]
    assert [sum(one) for one in model.passes[1:]] == [40, 40, 27]


def test_a_full_pass_is_prepared_while_the_model_works(model: Model) -> None:
    with closing(_batcher(model, budget=10)) as batcher:
        _hold(batcher, model)
        job = batcher.submit([6, 5])
        _until(lambda: model.prepared[1:] == [[6]])
        # The next one is not full yet, and stays open.
        other = batcher.submit([2])
        assert model.passes == [[1]]
        model.go.set()
        assert _results(job, other) == [[12, 10], [4]]
    assert model.prepared == model.passes == [[1], [6], [5, 2]]


def test_a_pass_that_is_not_full_stays_open(model: Model) -> None:
    with closing(_batcher(model, budget=10)) as batcher:
        _hold(batcher, model)
        jobs = [batcher.submit([number]) for number in (2, 3)]
        time.sleep(0.05)
        assert model.prepared == [[1]]
        model.go.set()
        assert _results(*jobs) == [[4], [6]]


@pytest.mark.parametrize(("bad", "message"), [(-3, "negative"), (13, "thirteen")])
def test_one_that_fails_fails_alone(model: Model, bad: int, message: str) -> None:
    with closing(_batcher(model)) as batcher:
        _hold(batcher, model)
        mixed, other = batcher.submit([2, bad]), batcher.submit([4])
        model.go.set()
        ((good, failed), (fine,)) = _results(mixed, other)
        assert (good, fine) == (4, 8)
        assert isinstance(failed, ValueError)
        assert str(failed) == message
        assert _results(batcher.submit([5])) == [[10]]


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(model: Model) -> None:
    with closing(_batcher(model, size=3)) as batcher:
        with batcher.reserve(2):
            with pytest.raises(OverloadedError) as caught, batcher.reserve(2):
                pytest.fail("there is no room for two")
            assert caught.value.retry_after >= 1
            with batcher.reserve(1):
                pass
        with batcher.reserve(3):
            pass


def test_nothing_is_accepted_while_too_much_work_waits(model: Model) -> None:
    with closing(_batcher(model, pieces=5)) as batcher:
        held = _hold(batcher, model)
        # Accepted with few waiting, however large it is.
        with batcher.reserve(1):
            job = batcher.submit([2] * 9)
            assert batcher.backlog() == Backlog(questions=1, pieces=9)
            with pytest.raises(OverloadedError), batcher.reserve(1):
                pytest.fail("nine wait already")
            model.go.set()
            assert _results(held, job) == [[2], [4] * 9]
        with batcher.reserve(1):
            assert batcher.backlog() == Backlog(questions=1, pieces=0)


def test_places_are_given_back_when_a_request_fails(model: Model) -> None:
    with closing(_batcher(model, size=1)) as batcher:
        with pytest.raises(ZeroDivisionError), batcher.reserve(1):
            raise ZeroDivisionError
        with batcher.reserve(1):
            pass


def test_what_was_cancelled_while_it_waited_is_not_run(model: Model) -> None:
    with closing(_batcher(model)) as batcher:
        _hold(batcher, model)
        first, second = batcher.submit([2, 5]), batcher.submit([3])
        assert first.cancel()
        assert batcher.backlog().pieces == 1
        model.go.set()
        assert _results(second) == [[6]]
    assert model.passes == [[1], [3]]


def test_what_is_cancelled_while_it_runs_disturbs_nobody(model: Model) -> None:
    with closing(_batcher(model)) as batcher:
        held = _hold(batcher, model)
        assert held.cancel()
        job = batcher.submit([3])
        model.go.set()
        assert _results(job) == [[6]]


def test_closing_finishes_what_was_accepted_and_takes_no_more(model: Model) -> None:
    batcher = _batcher(model, budget=1)
    held = _hold(batcher, model)
    job = batcher.submit([2, 3, 4])
    closer = threading.Thread(target=batcher.close)
    closer.start()
    model.go.set()
    closer.join(30)
    assert not closer.is_alive()
    assert _results(held, job) == [[2], [4, 6, 8]]
    with pytest.raises(NotReadyError):
        batcher.submit([5])
    with pytest.raises(NotReadyError), batcher.reserve(1):
        pass


def test_after_an_overflow_nobody_is_let_in_until_there_is_room_again(model: Model) -> None:
    with closing(_batcher(model, size=16)) as batcher, batcher.reserve(13):
        assert batcher.refusal() is None
        with batcher.reserve(2):
            # Nearly full, but nobody has been refused.
            assert batcher.refusal() is None
            with batcher.reserve(1):
                refusal = batcher.refusal()
                assert isinstance(refusal, OverloadedError)
                assert refusal.retry_after >= 1
            assert batcher.refusal() is not None
        assert batcher.refusal() is None
        with batcher.reserve(2):
            assert batcher.refusal() is None
            with pytest.raises(OverloadedError), batcher.reserve(2):
                pass
            assert batcher.refusal() is not None


def test_a_cancelled_job_is_no_longer_counted(model: Model) -> None:
    with closing(_batcher(model)) as batcher:
        running = batcher.submit([1])
        assert model.started.wait(30)
        jobs = [batcher.submit([1] * 5) for _ in range(3)]
        assert batcher.backlog().pieces == 15
        for left, job in ((10, jobs[1]), (5, jobs[0]), (0, jobs[2])):
            assert job.cancel()
            assert batcher.backlog().pieces == left
        model.go.set()
        assert _results(running) == [[2]]
    assert model.passes == [[1]]


def test_a_job_has_work(model: Model) -> None:
    with closing(_batcher(model)) as batcher, pytest.raises(ValueError, match="at least one"):
        batcher.submit([])


def test_times_are_told_and_passes_observed(model: Model) -> None:
    seen: list[Pass] = []
    with closing(_batcher(model, observe=seen.append)) as batcher:
        model.go.set()
        outcome = batcher.submit([1, 5]).result(30)
    assert outcome.queue_seconds >= 0
    assert outcome.infer_seconds >= 0
    assert [(one.pieces, one.weight) for one in seen] == [(2, 6)]


def test_many_threads_get_each_their_own(model: Model) -> None:
    model.go.set()
    with closing(_batcher(model, budget=50)) as batcher:
        jobs: dict[int, Future[Outcome[int]]] = {}

        def send(start: int) -> None:
            for number in range(start, start + 50):
                jobs[number] = batcher.submit([number % 9 + 1] * (number % 4 + 1))

        threads = [threading.Thread(target=send, args=(50 * n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number, job in jobs.items():
            wanted = 2 * (number % 9 + 1)
            assert _results(job) == [[wanted] * (number % 4 + 1)]


def test_with_one_lane_every_pass_runs_alone(model: Model) -> None:
    with closing(_batcher(model, budget=10)) as batcher:
        held = _hold(batcher, model)
        job = batcher.submit([5] * 8)
        model.go.set()
        assert _results(held, job) == [[2], [10] * 8]
    assert model.alone == [True] * 5


def test_with_two_lanes_full_passes_run_side_by_side_while_they_crowd(model: Model) -> None:
    together = threading.Barrier(2, timeout=30)

    def run(work: tuple[int, ...], alone: bool) -> list[int]:
        answers = Model.run(model, work, alone)
        if not alone:
            # It breaks unless another pass gets here meanwhile.
            together.wait()
        return answers

    model.run = run  # type: ignore[method-assign]
    with closing(_batcher(model, budget=10, lanes=2)) as batcher:
        held = _hold(batcher, model)
        job = batcher.submit([5] * 8)
        _until(lambda: len(model.prepared) == 2)
        # A pass that was not crowded when it began has the model to itself until it ends.
        assert model.passes == [[1]]
        model.go.set()
        assert _results(held, job) == [[2], [10] * 8]
    assert model.alone[0]
    assert model.alone.count(False) == 4


def test_with_two_lanes_a_lone_job_runs_alone(model: Model) -> None:
    model.go.set()
    with closing(_batcher(model, lanes=2)) as batcher:
        for number in range(20, 40):
            assert _results(batcher.submit([number])) == [[2 * number]]
    assert model.alone == [True] * 20


def test_with_two_lanes_every_piece_is_answered_once() -> None:
    model = Model()
    model.go.set()
    with closing(_batcher(model, budget=25, pieces=10**6, lanes=2)) as batcher:
        jobs = [list(range(1, 1 + size % 40)) or [1] for size in range(400)]
        futures = [batcher.submit(job) for job in jobs]
        futures[7].cancel()
        answers = [None if f.cancelled() else list(f.result(30).results) for f in futures]
    for job, answer in zip(jobs, answers, strict=True):
        if answer is not None:
            doubled = [2 * number for number in job]
            # Thirteen fails in preparing, alone.
            assert [str(one) for one in answer] == [
                "thirteen" if number == 13 else str(two)
                for number, two in zip(job, doubled, strict=True)
            ]


def test_with_two_lanes_closing_finishes_what_was_accepted(model: Model) -> None:
    batcher = _batcher(model, budget=10, lanes=2)
    held = _hold(batcher, model)
    jobs = [batcher.submit([5] * 4) for _ in range(5)]
    closing_thread = threading.Thread(target=batcher.close)
    closing_thread.start()
    model.go.set()
    closing_thread.join(30)
    assert not closing_thread.is_alive()
    assert _results(held, *jobs) == [[2], *[[10] * 4] * 5]
