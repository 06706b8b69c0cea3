"""The plain model in ONNX Runtime, as fast as its own tools make it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.peer import published_model

_INPUTS = ("input_ids", "attention_mask", "positions")


class OnnxPeer:
    """A session on the CPU."""

    def __init__(self, path: Path, *, threads: int) -> None:
        import onnxruntime  # noqa: PLC0415 - a peer, installed for benchmarks only

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session: Any = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def __call__(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        positions: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Logits (B, V) at the positions (B,) of token ids and mask (B, T)."""
        inputs = dict(zip(_INPUTS, (input_ids, attention_mask, positions), strict=True))
        logits: NDArray[np.float32] = self._session.run(None, inputs)[0]
        return logits


class _AtPositions(nn.Module):
    """The published model with its head at one position of each sentence."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, positions: Tensor) -> Tensor:
        hidden = self.model.bert(input_ids=input_ids, attention_mask=attention_mask)[0]
        places = positions[:, None, None].expand(-1, 1, hidden.shape[2])
        logits: Tensor = self.model.cls(hidden.gather(1, places)[:, 0])
        return logits


def export(base: str, folder: Path, *, heads: int, hidden: int) -> dict[str, Path]:
    """Write a BERT's graph as exported, with ONNX Runtime's fusions, and in int8, by name."""
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415 - see above
    from onnxruntime.transformers import optimizer  # noqa: PLC0415
    from onnxruntime.transformers.fusion_options import FusionOptions  # noqa: PLC0415

    model = published_model(base, attn_implementation="eager")
    plain, fused, small = (folder / f"{name}.onnx" for name in ("plain", "fused", "int8"))
    ids = torch.full((2, 9), 1000)
    arguments = (ids, torch.ones_like(ids), torch.tensor([3, 4]))
    torch.onnx.export(
        _AtPositions(model).eval(),
        arguments,
        str(plain),
        input_names=list(_INPUTS),
        output_names=["logits"],
        dynamic_axes={
            "input_ids": {0: "batch", 1: "length"},
            "attention_mask": {0: "batch", 1: "length"},
            "positions": {0: "batch"},
            "logits": {0: "batch"},
        },
        opset_version=17,
        dynamo=False,
    )
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
    # The fused operators have no rule for shapes; their results are float32 (ONNX's type 1).
    quantize_dynamic(
        fused, small, weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": 1}
    )
    return {"fp32": plain, "fp32 fused": fused, "int8 fused": small}
