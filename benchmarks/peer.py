"""The peer: a fill-mask pipeline of transformers on the same unmasked base.

As a program (`python -m benchmarks.peer BASE THREADS PROMPT`) it answers one prompt, writes a line
and waits for its standard input to close: so its start and memory are measured apart from the
client's.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.memory import Memory, memory_of
from plm.loading import BASES, embedded_bases

TOP_K = 10


@dataclass(frozen=True)
class PeerAlone:
    """A process with nothing but the pipeline.

    Attributes:
        seconds_to_answer: from the start of the process to its first answer.
        memory: after that answer.
    """

    seconds_to_answer: float
    memory: Memory


def published_model(base: str, **options: object) -> Any:
    """The model of an embedded base or a folder as its class has it, frozen, fp32, on the CPU."""
    from transformers import AutoModelForMaskedLM  # noqa: PLC0415 - takes seconds to import

    model = AutoModelForMaskedLM.from_pretrained(_place(base), dtype=torch.float32, **options)
    return model.eval().requires_grad_(False)


def published_tokenizer(base: str) -> Any:
    """The tokenizer of an embedded base, as transformers has it."""
    from transformers import AutoTokenizer  # noqa: PLC0415 - takes seconds to import

    return AutoTokenizer.from_pretrained(_place(base))


def fill_mask(base: str, *, threads: int) -> Any:
    """The pipeline, on the CPU in float32 (transformers would take the file's float16)."""
    from transformers import pipeline  # noqa: PLC0415 - takes seconds to import

    torch.set_num_threads(threads)
    return pipeline("fill-mask", model=_place(base), device="cpu", dtype=torch.float32, top_k=TOP_K)


def _place(base: str) -> str:
    return str(BASES / base) if base in embedded_bases() else base


def measure_alone(base: str, prompt: str, *, threads: int) -> PeerAlone:
    """Start a process that builds the pipeline and answers one prompt.

    Raises:
        RuntimeError: it failed.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.peer", base, str(threads), prompt],
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if process.stdout.readline().strip() != "answered":
            raise RuntimeError("the pipeline could not be started in a process of its own")
        return PeerAlone(time.perf_counter() - started, memory_of(process.pid))
    finally:
        process.stdin.close()
        process.wait(60)


def _alone() -> None:
    base, threads, prompt = sys.argv[1:]
    fill_mask(base, threads=int(threads))(prompt)
    sys.stdout.write("answered\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    _alone()
