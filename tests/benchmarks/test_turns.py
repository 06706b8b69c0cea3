"""Turns of sides, and sides in processes of their own."""

import pytest

from benchmarks.turns import one_round
from benchmarks.workers import worker


def test_every_second_round_runs_backwards() -> None:
    called: list[str] = []
    sides = {name: lambda name=name: called.append(name) for name in ("a", "b", "c")}
    for number in range(2):
        seconds = one_round(sides, number)
        assert list(seconds) == ["a", "b", "c"]
        assert min(seconds.values()) >= 0
    assert called == ["a", "b", "c", "c", "b", "a"]


def test_a_worker_that_ends_is_named() -> None:
    with (
        worker("no_such_module", [], threads=1) as process,
        pytest.raises(RuntimeError, match="a worker ended"),
    ):
        process.receive()
