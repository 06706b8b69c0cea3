"""The Triton kernels compiled to machine code of GPUs, which takes none."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton", reason="Triton is not installed")

ROOT = Path(__file__).parents[3]
SIZES = {
    "attention": {"HEADS": 12, "HEAD": 32, "DEPTH": 32, "QUERIES": 16, "KEYS": 32, "BLOCKS": 4},
    "masked_linear": {"HAS_BIAS": True, "ROWS": 64, "COLUMNS": 64, "DEPTH": 64, "STEPS": 6},
}
POINTERS = {"tiles": "*i64", "addresses": "*i64", "starts": "*i64", "query_starts": "*i64"}
COMPILE = """
import importlib, json, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

name, signature, sizes, capability = json.loads(sys.argv[1])
kernel = getattr(importlib.import_module(f"plm.cuda.{name}"), name)
# As at a launch with tensors as torch aligns them, and sizes that are multiples of 16.
given = [
    place
    for place, (argument, kind) in enumerate(signature.items())
    if kind not in ("constexpr", "fp32")
    and argument not in kernel.do_not_specialize_on_alignment
]
attributes = {(place,): [["tt.divisibility", 16]] for place in given}
source = ASTSource(fn=kernel, signature=signature, constexprs=sizes, attrs=attributes)
made = triton.compile(source, target=GPUTarget("cuda", capability, 32))
print(json.dumps({"ptx": made.asm["ptx"], "bytes": len(made.asm["cubin"])}))
"""


def compiled(name: str, dtype: str, capability: int, tmp_path: Path) -> Any:
    import plm.cuda.attention
    import plm.cuda.masked_linear  # noqa: F401

    kernel = getattr(sys.modules[f"plm.cuda.{name}"], name)
    sizes = SIZES[name]
    numbers = {"width": "i32", "depth": "i32", "bytes_a_row": "i32", "scale": "fp32"}
    signature = {
        argument: "constexpr"
        if argument in sizes
        else numbers.get(argument, POINTERS.get(argument, f"*{dtype}"))
        for argument in kernel.arg_names
    }
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, json.dumps([name, signature, sizes, capability])],
        env=os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# Of an A100 and of an H100 or H200.
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize("name", ["attention", "masked_linear"])
def test_it_compiles(name: str, dtype: str, capability: int, tmp_path: Path) -> None:
    made = compiled(name, dtype, capability, tmp_path)
    assert made["bytes"] > 1000
    tensor_cores = "mma" in made["ptx"]
    # float32 stays float32: no product of ten bits.
    assert tensor_cores == (dtype == "bf16")
    if name == "masked_linear":
        # States and weights come 16 bytes at a time, past the registers; a load for each weight,
        # as bits in its condition make of it, takes 32 times as many.
        assert made["ptx"].count("cp.async.cg.shared.global") >= 3 * 5
        assert "ld.global.b16" not in made["ptx"]
        assert made["ptx"].count("ld.global.b8") <= 4
