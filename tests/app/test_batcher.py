"""The thread that owns the model: what it takes, what it refuses, how it ends."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing

import pytest

from app.batcher import Batcher, Outcome
from app.errors import NotReadyError, OverloadedError


class Model:
    """Doubles numbers once it is let go; refuses negative ones."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started = threading.Event()
        self.go = threading.Event()

    def __call__(self, work: Sequence[int]) -> list[int]:
        self.batches.append(list(work))
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


def _batcher(model: Model, budget: int = 100, size: int = 100) -> Batcher[int, int]:
    return Batcher(model, room=lambda: Sum(budget), queue_size=size)


def _results(futures: Sequence[Future[Outcome[int]]]) -> list[int]:
    return [future.result(30).result for future in futures]


def _hold(batcher: Batcher[int, int], model: Model) -> Future[Outcome[int]]:
    """Occupy the model, so that what is submitted next waits."""
    (future,) = batcher.submit([1])
    assert model.started.wait(30)
    return future


def test_what_waits_becomes_one_batch_in_the_order_it_came(model: Model) -> None:
    with closing(_batcher(model)) as batcher:
        held = _hold(batcher, model)
        futures = [*batcher.submit([2, 3]), *batcher.submit([4])]
        model.go.set()
        assert _results([held, *futures]) == [2, 4, 6, 8]
    assert model.batches == [[1], [2, 3, 4]]


def test_what_has_no_room_keeps_its_place(model: Model) -> None:
    with closing(_batcher(model, budget=10)) as batcher:
        _hold(batcher, model)
        # 11 has room in no batch and runs alone.
        futures = batcher.submit([6, 5, 4, 11, 5, 3])
        model.go.set()
        assert _results(futures) == [12, 10, 8, 22, 10, 6]
    assert model.batches == [[1], [6, 4], [5, 5], [11], [3]]


def test_one_that_fails_fails_alone(model: Model) -> None:
    with closing(_batcher(model)) as batcher:
        _hold(batcher, model)
        good, bad, other = batcher.submit([2, -3, 4])
        model.go.set()
        assert _results([good, other]) == [4, 8]
        with pytest.raises(ValueError, match="negative"):
            bad.result(30)
        assert _results(batcher.submit([5])) == [10]


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


def test_places_are_given_back_when_a_request_fails(model: Model) -> None:
    with closing(_batcher(model, size=1)) as batcher:
        with pytest.raises(ZeroDivisionError), batcher.reserve(1):
            raise ZeroDivisionError
        with batcher.reserve(1):
            pass


def test_what_was_cancelled_while_it_waited_is_not_run(model: Model) -> None:
    with closing(_batcher(model)) as batcher:
        _hold(batcher, model)
        first, second = batcher.submit([2, 3])
        assert first.cancel()
        model.go.set()
        assert _results([second]) == [6]
    assert model.batches == [[1], [3]]


def test_closing_finishes_what_was_accepted_and_takes_no_more(model: Model) -> None:
    batcher = _batcher(model, budget=1)
    held = _hold(batcher, model)
    futures = batcher.submit([2, 3, 4])
    closer = threading.Thread(target=batcher.close)
    closer.start()
    model.go.set()
    closer.join(30)
    assert not closer.is_alive()
    assert _results([held, *futures]) == [2, 4, 6, 8]
    with pytest.raises(NotReadyError):
        batcher.submit([5])
    with pytest.raises(NotReadyError), batcher.reserve(1):
        pass


def test_times_are_told(model: Model) -> None:
    with closing(_batcher(model)) as batcher:
        model.go.set()
        outcome = batcher.submit([1])[0].result(30)
    assert outcome.queue_seconds >= 0
    assert outcome.infer_seconds >= 0
