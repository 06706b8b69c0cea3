"""The products by tiles of AMX, whose instructions are emulated, beside those by vectors."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import plm
from plm.native import (
    UNKNOWN,
    BlockedKernel,
    SetAddresses,
    address_of,
    blocked_kernel,
    choice,
)
from plm.native.loading import blocked_works
from tests.plm.native.products import Drawn, masked_product

if TYPE_CHECKING:
    from tests.plm.conftest import Tiny

FOLDER = Path(plm.__file__).parent / "native"
EMULATION = Path(__file__).with_name("emulated_amx.h")
KINDS = {"bfloat16": torch.bfloat16, "int8": torch.int8}


class Emulated:
    """A kind's kernel by tiles, and the count that its emulation keeps."""

    def __init__(self, kind: str, library: Path) -> None:
        self.dtype = KINDS[kind]
        self.built = ctypes.CDLL(str(library))
        self.run = BlockedKernel(self.built, [f"{kind}_amx"])

    def count(self, of: str) -> int:
        return int(getattr(self.built, f"emulated_{of}")())


@pytest.fixture(scope="module", params=KINDS)
def tiles(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Emulated:
    kind = request.param
    found = blocked_kernel()
    if found is None or KINDS[kind] not in found.dtypes:
        pytest.skip(f"this processor has no instructions that prepare {kind} for tiles")
    if (compiler := shutil.which("g++")) is None:
        pytest.skip("there is no g++ to compile it with")
    folder = tmp_path_factory.mktemp("tiles")
    built, target = folder / "tiles.o", folder / "tiles.so"
    source = FOLDER / f"blocked_{kind}_amx.cpp"
    flags = ["-std=c++17", "-O2", "-fopenmp", "-fPIC", f'-DRELATA_AMX="{EMULATION}"']
    subprocess.run([compiler, *flags, "-c", "-o", built, source], check=True)
    # As the package's own: the OpenMP of torch serves it.
    subprocess.run([compiler, "-shared", "-o", target, built], check=True)
    return Emulated(kind, target)


# Fewer rows of W than a block, no multiple of two blocks, several tiles deep.
@pytest.mark.parametrize(("width", "depth"), [(1, 64), (50, 128), (129, 192), (64, 512)])
# Every number of rows that two tiles may have, sets of several passes, empty ones, several ranges.
@pytest.mark.parametrize("sizes", [tuple(range(1, 34)), (5, 0, 70, 40, 97), (0,), (300, 7)])
def test_tiles_multiply_as_vectors_do(
    tiles: Emulated, width: int, depth: int, sizes: tuple[int, ...]
) -> None:
    case = Drawn.of(width, depth, sizes)
    weight, bias, states, kept = case.weight, case.bias, case.states, case.kept
    bits = case.bits
    packed = tiles.run.pack(weight, tiles.dtype)
    before = tiles.count("products")
    found = tiles.run(states, packed, bias, bits, sizes)
    assert (tiles.count("products") > before) == (sum(sizes) > 0)
    expected = masked_product(
        states, packed.dense(), bias, kept=kept, sizes=sizes, dtype=tiles.dtype
    )
    torch.testing.assert_close(found / depth**0.5, expected / depth**0.5, atol=2e-5, rtol=2e-5)
    # Blocks that were packed for one are those of the other; whole numbers sum up the same.
    vectors = blocked_kernel()
    assert vectors is not None
    exact = {"atol": 0, "rtol": 0} if tiles.dtype == torch.int8 else {"atol": 1e-4, "rtol": 1e-5}
    torch.testing.assert_close(found, vectors(states, packed, bias, bits, sizes), **exact)
    # By addresses: sums of what is kept are filled in by the first call, and read by the second.
    room = np.full((len(sizes), packed.blocks.shape[0] * 16), UNKNOWN, np.int32)
    table = np.array(
        [
            [0 if part is None else part.address for part in bits],
            [0 if part is None else address_of(own) for part, own in zip(bits, room, strict=True)],
        ],
        np.int64,
    )
    sums = address_of(table[1]) if tiles.dtype == torch.int8 else None
    where = SetAddresses(address_of(table[0]), sums, len(sizes))
    for _ in range(2):
        assert torch.equal(tiles.run.at(states, packed, bias, where, sizes), found)
    assert (tiles.count("faults"), tiles.count("held")) == (0, 0)


def test_they_are_tried_as_others_are(tiles: Emulated) -> None:
    assert tiles.run.by_tiles(tiles.dtype)
    assert blocked_works(tiles.run)


def test_of_two_kinds_in_a_type_the_first_is_used(tiles: Emulated) -> None:
    kind = "int8" if tiles.dtype == torch.int8 else "bfloat16"
    path = next(FOLDER.glob("_kernels*.so"))
    built = ctypes.CDLL(str(path))
    assert BlockedKernel(built, [f"{kind}_amx", kind]).by_tiles(tiles.dtype)
    assert not BlockedKernel(built, [kind, f"{kind}_amx"]).by_tiles(tiles.dtype)


@pytest.mark.parametrize("tiles", ["bfloat16"], indirect=True)
@pytest.mark.parametrize("pay", [False, True])
def test_a_base_is_multiplied_by_tiles_where_that_is_the_faster_way(
    tiles: Emulated, wide: Path, bert: Tiny, monkeypatch: pytest.MonkeyPatch, pay: bool
) -> None:
    monkeypatch.setattr("plm.loading.has_amx", lambda: True)
    monkeypatch.setattr("plm.loading.tiles_pay", lambda run: run is tiles.run and pay)
    for module in ("affine", "linear", "loading"):
        monkeypatch.setattr(f"plm.{module}.blocked_kernel", lambda: tiles.run)
    base = plm.load_base(wide, device="cpu", dtype=torch.bfloat16)
    assert isinstance(base.layers[0].query, plm.BlockedLinear) == pay
    rows = [prompt.row for prompt in bert.prompts]
    before = tiles.count("products")
    found = plm.Engine(base).logits(rows, [None] * len(rows))
    assert (tiles.count("products") > before) == pay
    monkeypatch.undo()
    expected = plm.Engine(plm.load_base(wide, device="cpu")).logits(rows, [None] * len(rows))
    assert torch.corrcoef(torch.stack([expected.flatten(), found.flatten()]))[0, 1] > 0.998


@pytest.mark.parametrize("tiles", ["bfloat16"], indirect=True)
def test_what_pays_is_measured(tiles: Emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choice.tiles_pay.__wrapped__(tiles.run) in (False, True)
    for ours, theirs, pay in ((1.0, 1.0, True), (1.0, 2.0, True), (2.0, 1.0, False)):
        seconds = iter((ours, theirs))
        monkeypatch.setattr(choice, "_seconds", lambda _, left=seconds: next(left))
        assert choice.tiles_pay.__wrapped__(tiles.run) == pay
