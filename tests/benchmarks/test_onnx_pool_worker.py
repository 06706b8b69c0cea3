"""How a pool of sessions answers a mixed batch."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.onnx_pool_worker import answered


class _Session:
    """Gives, for each sentence, its session's number and the token at the asked position."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.calls = 0

    def run(
        self, _names: None, inputs: Mapping[str, NDArray[np.int64]]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        self.calls += 1
        ids, mask, positions = inputs.values()
        assert ((ids == 0) == (mask == 0)).all()
        tokens = ids[np.arange(len(ids)), positions]
        return np.full((len(ids), 1), self.number, np.float32), tokens[:, None]


@pytest.mark.parametrize("lanes", [1, 2])
def test_each_relation_is_asked_once_and_rows_keep_their_order(lanes: int) -> None:
    sessions = [_Session(number) for number in range(3)]
    message = {
        "who": [2, 0, 2],
        "ids": [[5, 6, 7], [8, 9], [10, 11]],
        "slots": [2, 0, 1],
    }
    with ThreadPoolExecutor(lanes) as pool:
        rows = answered(sessions, pool if lanes > 1 else None, message)
    assert rows == [([2.0], [7]), ([0.0], [8]), ([2.0], [11])]
    assert [session.calls for session in sessions] == [1, 0, 1]
