"""Sessions of ONNX Runtime on the CPU. Imports no torch: a process of sessions alone is small."""

from pathlib import Path
from typing import Any

# Token ids and mask (B, T), and the position (B,) that is asked for in each sentence.
INPUTS = ("input_ids", "attention_mask", "positions")


def open_session(path: Path, *, threads: int, spinning: bool = True) -> Any:
    """A session of its own threads; with `spinning` they wait for work without sleeping."""
    import onnxruntime  # noqa: PLC0415 - a peer, installed for benchmarks only

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if not spinning:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
