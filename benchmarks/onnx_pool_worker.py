"""The pool of `benchmarks.onnx_pool`: a session for each relation, and nothing else.

As a program (`python -m benchmarks.onnx_pool_worker FOLDER THREADS LANES`) it opens the graphs of a
folder in order of their names when it is told to, and then answers batches: each relation's prompts
in one call of its session, `LANES` sessions at a time. It imports neither torch nor a tokenizer.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.onnx_session import INPUTS, open_session
from benchmarks.workers import answer, messages


def main(folder: Path, threads: int, lanes: int) -> None:
    """Answer messages until standard input closes."""
    # What every process of the kind holds before it has a model. A peer, for benchmarks only.
    import onnxruntime  # noqa: F401, PLC0415

    asked = messages()
    answer("imported")
    next(asked)
    # Threads of one session that wait without sleeping take the processors from the next one.
    sessions = [
        open_session(path, threads=threads, spinning=False)
        for path in sorted(folder.glob("*.onnx"))
    ]
    with ThreadPoolExecutor(lanes) as pool:
        answer("ready")
        for message in asked:
            started = time.perf_counter()
            rows = answered(sessions, pool if lanes > 1 else None, message)
            answer({"seconds": time.perf_counter() - started, "rows": rows})


def answered(
    sessions: Sequence[Any], pool: ThreadPoolExecutor | None, message: Mapping[str, Any]
) -> list[tuple[list[float], list[int]]]:
    """Log-probabilities and ids of each prompt's most likely tokens, in the prompts' order.

    The sessions run one after the other, or side by side in a pool.
    """
    who, ids, slots = message["who"], message["ids"], message["slots"]
    groups = [[row for row, one in enumerate(who) if one == name] for name in sorted(set(who))]

    def run(group: Sequence[int]) -> list[tuple[list[float], list[int]]]:
        arrays = _padded([ids[row] for row in group], [slots[row] for row in group])
        outputs = sessions[who[group[0]]].run(None, dict(zip(INPUTS, arrays, strict=True)))
        return list(zip(*(output.tolist() for output in outputs), strict=True))

    found = pool.map(run, groups) if pool else map(run, groups)
    by_row = {
        row: one
        for group, rows in zip(groups, found, strict=True)
        for row, one in zip(group, rows, strict=True)
    }
    return [by_row[row] for row in range(len(who))]


def _padded(
    ids: Sequence[Sequence[int]], slots: Sequence[int]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    longest = max(map(len, ids))
    # Token 0 is BERT's padding.
    input_ids = np.zeros((len(ids), longest), np.int64)
    attention_mask = np.zeros_like(input_ids)
    for row, tokens in enumerate(ids):
        input_ids[row, : len(tokens)] = tokens
        attention_mask[row, : len(tokens)] = 1
    return input_ids, attention_mask, np.array(slots, np.int64)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
