"""The plain model in ONNX Runtime, as fast as its own tools make it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.onnx_session import INPUTS, open_session
from benchmarks.peer import published_model


class OnnxPeer:
    """A session on the CPU."""

    def __init__(self, path: Path, *, threads: int) -> None:
        self._session = open_session(path, threads=threads)

    def __call__(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        positions: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Logits (B, V) at the positions (B,) of token ids and mask (B, T)."""
        inputs = dict(zip(INPUTS, (input_ids, attention_mask, positions), strict=True))
        logits: NDArray[np.float32] = self._session.run(None, inputs)[0]
        return logits


class _AtPositions(nn.Module):
    """The published model with its head at one position of each sentence.

    With `top` it gives the log-probabilities (B, top) and ids (B, top) of the most likely tokens,
    without it logits (B, V).
    """

    def __init__(self, model: Any, top: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.top = top

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, positions: Tensor
    ) -> Tensor | tuple[Tensor, Tensor]:
        hidden = self.model.bert(input_ids=input_ids, attention_mask=attention_mask)[0]
        places = positions[:, None, None].expand(-1, 1, hidden.shape[2])
        logits: Tensor = self.model.cls(hidden.gather(1, places)[:, 0])
        if self.top is None:
            return logits
        values, ids = logits.log_softmax(1).topk(self.top)
        return values, ids


def export(base: str, folder: Path, *, heads: int, hidden: int) -> dict[str, Path]:
    """Write a BERT's graph as exported, with ONNX Runtime's fusions, and in int8, by name."""
    plain, fused, small = (folder / f"{name}.onnx" for name in ("plain", "fused", "int8"))
    export_graph(published_model(base, attn_implementation="eager"), plain)
    fuse(plain, fused, heads=heads, hidden=hidden)
    to_int8(fused, small)
    return {"fp32": plain, "fp32 fused": fused, "int8 fused": small}


def export_graph(model: Any, path: Path, *, top: int | None = None) -> None:
    """Write a published BERT's graph with its head at one position of each sentence.

    It gives logits (B, V), or the `top` most likely tokens' log-probabilities and ids.
    """
    outputs = ["logits"] if top is None else ["log_probs", "token_ids"]
    ids = torch.full((2, 9), 1000)
    arguments = (ids, torch.ones_like(ids), torch.tensor([3, 4]))
    torch.onnx.export(
        _AtPositions(model, top).eval(),
        arguments,
        str(path),
        input_names=list(INPUTS),
        output_names=outputs,
        dynamic_axes={
            "input_ids": {0: "batch", 1: "length"},
            "attention_mask": {0: "batch", 1: "length"},
            "positions": {0: "batch"},
            **{output: {0: "batch"} for output in outputs},
        },
        opset_version=17,
        dynamo=False,
    )


def fuse(plain: Path, fused: Path, *, heads: int, hidden: int) -> None:
    """Rewrite a graph with ONNX Runtime's own operators for BERT."""
    from onnxruntime.transformers import optimizer  # noqa: PLC0415 - for benchmarks only
    from onnxruntime.transformers.fusion_options import FusionOptions  # noqa: PLC0415

    options = FusionOptions("bert")
    options.enable_embed_layer_norm = False  # it wants token types as an input
    made = optimizer.optimize_model(
        str(plain),
        model_type="bert",
        num_heads=heads,
        hidden_size=hidden,
        optimization_options=options,
        opt_level=1,
    )
    made.save_model_to_file(str(fused))


def to_int8(fused: Path, small: Path) -> None:
    """Rewrite a graph with weights in int8."""
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415

    # The fused operators have no rule for shapes; their results are float32 (ONNX's type 1).
    quantize_dynamic(
        fused, small, weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": 1}
    )
