"""What becomes of objects that are loaded."""

import gc
from collections.abc import Iterator

import pytest

from app.memory import keep_objects


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_objects_that_stay_are_out_of_the_collectors_rounds() -> None:
    kept: list[object] = [[]]
    keep_objects()
    assert gc.get_freeze_count() > 0
    assert not any(part is kept for part in gc.get_objects())


def test_what_is_made_later_is_collected() -> None:
    keep_objects()
    later: list[object] = []
    later.append(later)
    assert any(part is later for part in gc.get_objects())
    del later
    assert gc.collect() > 0
