"""The native kernel beside its twin in PyTorch, and the engine with and without it."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM

import plm
from masks import CombinedMask, RelationMask, combine_masks, pack_bits
from plm.affine import Linear
from plm.linear import _native, linear
from plm.native import (
    LayerKernel,
    MaskedLinearKernel,
    PackedBits,
    ReadoutKernel,
    blocked_kernel,
    kernel,
    layer_kernel,
)
from plm.native.loading import chosen, works
from plm.native.variant import Variant, variants

if TYPE_CHECKING:
    from tests.plm.conftest import Tiny

FOLDER = Path(plm.__file__).parent / "native"

needs_kernel = pytest.mark.skipif(kernel() is None, reason="the native kernels are not built")


@pytest.fixture(scope="module")
def sixteen(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    """The source in vectors of sixteen floats, as for AVX-512, without its instructions."""
    if (compiler := shutil.which("g++")) is None:
        pytest.skip("there is no g++ to compile it with")
    folder = tmp_path_factory.mktemp("sixteen")
    source, target = folder / "sixteen.cpp", folder / "sixteen.so"
    source.write_text(
        "#define RELATA_NAME(name) relata_sixteen_##name\n"
        "#define RELATA_LANES 16\n"
        "#define RELATA_ROWS 6\n"
        '#include "layer.h"\n#include "masked_linear.h"\n#include "readout.h"\n'
    )
    flags = ["-std=c++17", "-O2", "-Wno-psabi", "-fopenmp", "-fPIC", "-shared", f"-I{FOLDER}"]
    subprocess.run([compiler, *flags, "-o", target, source], check=True)
    return Variant("sixteen", ctypes.CDLL(str(target)))


def _built() -> dict[str, Variant]:
    library = next(FOLDER.glob("_kernels*.so"), None)
    return {} if library is None else {v.name: v for v in variants(ctypes.CDLL(str(library)))}


@pytest.fixture(params=[*(_built() or ["built"]), "sixteen"])
def variant(request: pytest.FixtureRequest) -> Variant:
    """Each that this processor can run."""
    if request.param == "sixteen":
        return request.getfixturevalue("sixteen")
    if request.param not in _built():
        pytest.skip("the native kernels are not built")
    return _built()[request.param]


@pytest.fixture
def run(variant: Variant) -> MaskedLinearKernel:
    return MaskedLinearKernel(variant)


def _case(
    width: int, depth: int, sizes: Sequence[int], unmasked: int | None = None, *, bias: bool = True
) -> tuple[torch.Tensor, plm.Linear, list[plm.AnyLinear]]:
    random = np.random.default_rng(width * depth + len(sizes))
    generator = torch.Generator().manual_seed(depth)
    base = plm.Linear(
        torch.randn(width, depth, generator=generator),
        torch.randn(width, generator=generator) if bias else None,
    )
    parts: list[plm.AnyLinear] = [
        base
        if place == unmasked
        else plm.MaskedLinear(base, {"w": pack_bits(random.random((width, depth)) > 0.4)}, "w")
        for place in range(len(sizes))
    ]
    return torch.randn(sum(sizes), depth, generator=generator), base, parts


def _expected(
    states: torch.Tensor, parts: Sequence[plm.AnyLinear], sizes: Sequence[int]
) -> torch.Tensor:
    blocks = [
        torch.nn.functional.linear(block.double(), part.weight.double().clone())
        for block, part in zip(states.split(list(sizes)), parts, strict=True)
    ]
    bias = parts[0].bias
    whole = torch.cat(blocks)
    return (whole if bias is None else whole + bias.double()).float()


def _taken(depth: int, variant: Variant) -> int:
    """The depth, or one near it that whole vectors make up."""
    return -(-depth // variant.step) * variant.step


@pytest.mark.parametrize(
    ("width", "depth"),
    # Fewer columns than a tile, no multiple of a panel, and more depth than a panel has.
    [(1, 8), (3, 16), (32, 64), (50, 24), (384, 384), (17, 1544), (129, 3200)],
)
@pytest.mark.parametrize(
    ("sizes", "unmasked"),
    [((1,), None), ((5, 0, 1, 2, 3, 4), None), ((7, 6), 1), ((1, 1), 0), ((2, 30, 3), 2)],
)
def test_it_is_the_product_with_the_masked_weights(
    variant: Variant, width: int, depth: int, sizes: tuple[int, ...], unmasked: int | None
) -> None:
    run = MaskedLinearKernel(variant)
    for bias in (True, False):
        states, base, parts = _case(width, _taken(depth, variant), sizes, unmasked, bias=bias)
        bits = [part if isinstance(part, plm.MaskedLinear) else None for part in parts]
        found = run(states, base.weight, base.bias, bits, sizes)
        scale = depth**0.5
        torch.testing.assert_close(
            found / scale, _expected(states, parts, sizes) / scale, atol=1e-5, rtol=1e-5
        )


@needs_kernel
def test_linear_takes_it_and_gives_what_its_twin_gives() -> None:
    sizes = (3, 4, 2)
    states, base, parts = _case(40, 48, sizes, unmasked=1)
    twins: list[plm.AnyLinear] = [
        plm.MaskedLinear(base, part.packed, part.name, native=False)
        if isinstance(part, plm.MaskedLinear)
        else part
        for part in parts
    ]
    with torch.inference_mode():
        native, twin = linear(states, parts, sizes), linear(states, twins, sizes)
        alone = linear(states[:3], parts[:1], (3,))
    torch.testing.assert_close(native, twin, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone, twin[:3], atol=1e-5, rtol=1e-5)
    assert not torch.equal(native, torch.zeros_like(native))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_change_the_sums(run: MaskedLinearKernel, threads: int) -> None:
    states, base, parts = _case(100, 64, (9, 5))
    bits = [part for part in parts if isinstance(part, plm.MaskedLinear)]
    before = torch.get_num_threads()
    expected = run(states, base.weight, base.bias, bits, (9, 5))
    try:
        torch.set_num_threads(threads)
        assert torch.equal(run(states, base.weight, base.bias, bits, (9, 5)), expected)
    finally:
        torch.set_num_threads(before)


def test_it_says_what_it_takes(run: MaskedLinearKernel) -> None:
    states, weight = torch.zeros(2, 16), torch.zeros(4, 16)
    assert run.takes(states, weight)
    assert run.takes(states.bfloat16(), weight.bfloat16())
    assert not run.takes(states, weight.bfloat16())
    assert not run.takes(states.half(), weight.half())
    assert not run.takes(torch.zeros(2, 12), torch.zeros(4, 12))
    assert not run.takes(states, torch.zeros(16, 4).t())
    bits, short = (PackedBits(np.zeros((rows, 2), np.uint8)) for rows in (4, 3))
    with pytest.raises(ValueError, match="do not go with"):
        run(states, weight, None, [bits], (3,))
    with pytest.raises(ValueError, match="do not go with"):
        run(states, weight, None, [short], (2,))


@pytest.mark.parametrize(("width", "depth"), [(50, 24), (384, 384), (17, 1544)])
@pytest.mark.parametrize("sizes", [(3,), (5, 0, 1, 40)])
def test_weights_in_half_precision_give_the_same_to_the_last_bit(
    variant: Variant, run: MaskedLinearKernel, width: int, depth: int, sizes: tuple[int, ...]
) -> None:
    states, base, parts = _case(width, _taken(depth, variant), sizes, unmasked=0)
    bits = [part if isinstance(part, plm.MaskedLinear) else None for part in parts]
    half = base.weight.half()
    single = half.float()
    expected = run(states, single, base.bias, bits, sizes)
    assert torch.equal(run(states, single, base.bias, bits, sizes, half=half), expected)


@pytest.mark.parametrize(("width", "depth"), [(50, 24), (384, 384), (17, 1544)])
@pytest.mark.parametrize("sizes", [(3,), (5, 0, 1, 40)])
def test_bfloat16_is_computed_in_single_precision(
    variant: Variant, run: MaskedLinearKernel, width: int, depth: int, sizes: tuple[int, ...]
) -> None:
    states, base, parts = _case(width, _taken(depth, variant), sizes, unmasked=0)
    bits = [part if isinstance(part, plm.MaskedLinear) else None for part in parts]
    states, weight, bias = (part.bfloat16() for part in (states, base.weight, base.bias))
    found = run(states, weight, bias, bits, sizes)
    expected = run(states.float(), weight.float(), bias.float(), bits, sizes)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected.bfloat16())


@needs_kernel
@pytest.mark.parametrize("amx", [False, True])
def test_a_base_in_bfloat16_answers_the_same_with_and_without_it(
    bert: Tiny, monkeypatch: pytest.MonkeyPatch, amx: bool
) -> None:
    monkeypatch.setattr("plm.loading.blocked_kernel", lambda: None)
    monkeypatch.setattr("plm.linear.has_amx", lambda: amx)
    base = plm.load_base(bert.folder, device="cpu", dtype=torch.bfloat16)
    rows = [prompt.row for prompt in bert.prompts] * 2
    masks = [bert.combined(1), None, bert.combined(2, (2, 4)), bert.union(1, 3), bert.combined(1)]
    used = []
    run = MaskedLinearKernel.__call__
    monkeypatch.setattr(
        MaskedLinearKernel, "__call__", lambda *a, **k: used.append(a[4]) or run(*a, **k)
    )
    found = plm.Engine(base).logits(rows, masks * 2)
    assert used
    # With AMX what has no mask is left to PyTorch.
    assert any(bits == [None] for bits in used) != amx
    monkeypatch.setattr("plm.linear.kernel", lambda: None)
    expected = plm.Engine(base, native=False).logits(rows, masks * 2)
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0.05)


@needs_kernel
@pytest.mark.parametrize("blocked", [False, True])
def test_half_precision_is_held_where_it_changes_no_value(
    bert: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocked: bool
) -> None:
    if not blocked:
        monkeypatch.setattr("plm.affine.blocked_kernel", lambda: None)
    elif blocked_kernel() is None:
        pytest.skip("this processor has no products of blocks")
    query = (bert if blocked else bert.in_rows()).base.layers[0].query
    if blocked:
        assert isinstance(query, plm.BlockedLinear)
        assert query.blocked.dtype == torch.float32
    else:
        assert isinstance(query, Linear)
        assert query.half is None
    folder = tmp_path / "half"
    shutil.copytree(bert.folder, folder)
    AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float16).save_pretrained(folder)
    base = plm.load_base(folder, device="cpu")
    for layer in base.layers:
        for _, part in layer.linears():
            assert isinstance(part, plm.BlockedLinear if blocked else plm.Linear)
            if isinstance(part, plm.BlockedLinear):
                assert part.blocked.dtype == torch.float16
            held = part.blocked.dense() if isinstance(part, plm.BlockedLinear) else part.half
            assert held is not None
            assert torch.equal(held.float(), part.weight)
    assert isinstance(base.head.decoder, plm.BlockedLinear) == blocked
    rows = [prompt.row for prompt in bert.prompts]
    masks = [bert.mask(seed) for seed in range(5)]
    found = plm.Engine(base).logits(rows, [_for(base, mask) for mask in masks])
    whole = plm.Engine(_in_single(base)).logits(rows, [_for(base, mask) for mask in masks])
    if blocked:  # sums in another order
        torch.testing.assert_close(found, whole, atol=1e-5, rtol=1e-5)
    else:
        assert torch.equal(found, whole)
    half = plm.load_base(folder, device="cpu", dtype=torch.float16)
    assert half.layers[0].query.half is None


def _for(base: plm.BaseModel, mask: RelationMask) -> CombinedMask:
    metadata = replace(mask.metadata, base_digest=base.digest)
    return combine_masks([RelationMask(metadata, mask.packed)])


def _in_single(base: plm.BaseModel) -> plm.BaseModel:
    layers = tuple(
        layer.with_linears({role: Linear(part.weight, part.bias) for role, part in layer.linears()})
        for layer in base.layers
    )
    head = replace(
        base.head,
        dense=Linear(base.head.dense.weight, base.head.dense.bias),
        decoder=Linear(base.head.decoder.weight, base.head.decoder.bias),
    )
    return replace(base, layers=layers, head=head)


@pytest.mark.parametrize("blocked", [False, True])
def test_answers_are_the_same_with_and_without_it(tiny: Tiny, blocked: bool) -> None:
    tiny = tiny if blocked else tiny.in_rows()
    rows = [prompt.row for prompt in tiny.prompts] * 2
    masks = [tiny.combined(1), None, tiny.combined(2, (2, 4)), tiny.union(1, 3), tiny.combined(1)]
    with_kernel = plm.Engine(tiny.base).logits(rows, masks * 2)
    without = plm.Engine(tiny.base, native=False).logits(rows, masks * 2)
    torch.testing.assert_close(with_kernel, without, atol=1e-5, rtol=1e-5)


def test_a_library_that_cannot_be_loaded_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "_kernels.broken.so").write_bytes(b"no library")
    assert chosen.__wrapped__(tmp_path) is None


def test_a_library_of_another_version_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "_kernels.so").touch()
    for library in (object(), SimpleNamespace(relata_interface=lambda: 1)):
        caplog.clear()
        monkeypatch.setattr(ctypes, "CDLL", lambda _, given=library: given)
        assert chosen.__wrapped__(tmp_path) is None
        assert "another version: install again" in caplog.text


def test_without_a_library_there_is_no_kernel(tmp_path: Path) -> None:
    assert chosen.__wrapped__(tmp_path) is None


def test_a_variant_that_is_wrong_gives_way_to_the_next(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wrong, right = (Variant(name, ctypes.CDLL(None)) for name in ("wrong", "right"))
    monkeypatch.setattr("plm.native.loading._library", lambda _: wrong.built)
    monkeypatch.setattr("plm.native.loading.variants", lambda _: [wrong, right])
    monkeypatch.setattr("plm.native.loading.works", lambda variant: variant is right)
    assert chosen.__wrapped__(FOLDER) is right
    assert "for wrong give wrong results" in caplog.text


def test_a_variant_is_found_to_work(variant: Variant) -> None:
    assert works(variant)


@pytest.mark.parametrize("name", ["gelu_", "norm_of_sum", "attention"])
def test_a_fault_is_found(name: str, variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(LayerKernel, name)
    monkeypatch.setattr(LayerKernel, name, lambda *a, **k: right(*a, **k) + 0.01)
    assert not works(variant)


def test_a_wrong_product_is_found(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    right = MaskedLinearKernel.__call__
    monkeypatch.setattr(MaskedLinearKernel, "__call__", lambda *a, **k: right(*a, **k) + 0.01)
    assert not works(variant)


def test_an_unmasked_product_is_left_to_torch_by_narrow_vectors(
    variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    states, base, parts = _case(32, 64, (3, 2))
    run = MaskedLinearKernel(variant)
    monkeypatch.setattr("plm.linear.kernel", lambda: run)
    with torch.inference_mode():
        assert (_native(states, [base], [5], True) is None) == (variant.lanes < 8)
        assert _native(states, parts, [3, 2], True) is not None


@pytest.fixture
def layer(variant: Variant) -> LayerKernel:
    return LayerKernel(variant)


@pytest.mark.parametrize("depth", [8, 32, 64, 128])
@pytest.mark.parametrize("lengths", [(1,), (7, 1, 128, 12), (9,) * 40])
def test_attention_is_that_of_torch(
    variant: Variant, layer: LayerKernel, depth: int, lengths: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(depth)
    heads, tokens, depth = 3, sum(lengths), _taken(depth, variant)
    shape = (tokens, heads * depth)
    # Scores far apart too: softmax must neither overflow nor lose the small ones.
    query, key, value = (2 * torch.randn(shape, generator=generator) for _ in range(3))
    starts = np.array([0, *np.cumsum(lengths)])
    # Every token asks, then two of each sentence, or its only one.
    some = [min(2, length) for length in lengths]
    picked = torch.cat(
        [torch.arange(start, start + n) for start, n in zip(starts, some, strict=False)]
    )
    found = layer.attention(query, key, value, starts, starts, heads=heads)
    few = layer.attention(
        query[picked], key, value, starts, np.array([0, *np.cumsum(some)]), heads=heads
    )
    for start, end in pairwise(starts):
        parts = [
            part[start:end].double().view(1, -1, heads, depth).transpose(1, 2)
            for part in (query, key, value)
        ]
        expected = torch.nn.functional.scaled_dot_product_attention(*parts)
        expected = expected.transpose(1, 2).reshape(-1, heads * depth).float()
        torch.testing.assert_close(found[start:end], expected, atol=2e-5, rtol=2e-5)
    torch.testing.assert_close(few, found[picked], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 16), (37, 384), (3, 1024)])
def test_norm_of_a_sum_is_that_of_torch(layer: LayerKernel, shape: tuple[int, int]) -> None:
    states, residual = torch.randn(shape) * 3 + 5, torch.randn(shape)
    weight, bias = torch.randn(shape[1]), torch.randn(shape[1])
    found = layer.norm_of_sum(states, residual, weight, bias, 1e-12)
    expected = torch.nn.functional.layer_norm(
        (states + residual).double(), shape[1:], weight.double(), bias.double(), 1e-12
    )
    torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=1e-5)


def test_gelu_is_the_exact_one(layer: LayerKernel) -> None:
    values = torch.cat([torch.linspace(-12, 12, 48_008), torch.tensor([0.0, -0.0, 1e-30, 3e4])])
    values = torch.cat([values, torch.tensor([-3e4, 90.0, -90.0, -1e-8])])
    expected = torch.nn.functional.gelu(values.double())
    found = layer.gelu_(values[None].clone())[0].double()
    error = (found - expected).abs() / values.double().abs().clamp(min=1)
    assert float(error.max()) < 3e-7


def test_biases_are_added(variant: Variant, layer: LayerKernel) -> None:
    generator = torch.Generator().manual_seed(1)
    width = 3 * 2 * variant.step
    query, key, value, residual = torch.randn(4, 7, width, generator=generator)
    biases = torch.randn(4, width, generator=generator)
    starts = np.array([0, 3, 7])
    found = layer.attention(
        query, key, value, starts, starts, heads=3, query_bias=biases[0], value_bias=biases[1]
    )
    # A bias of the keys changes nothing, so that here they may have one.
    parts = query + biases[0], key + biases[2], value + biases[1]
    expected = layer.attention(*parts, starts, starts, heads=3)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    weight = torch.ones(width)
    found = layer.norm_of_sum(query, residual, weight, biases[3], 1e-12, states_bias=biases[0])
    expected = layer.norm_of_sum(query + biases[0], residual, weight, biases[3], 1e-12)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    found = layer.gelu_(query.clone(), biases[0])
    torch.testing.assert_close(found, layer.gelu_(query + biases[0]), atol=1e-6, rtol=1e-6)


@pytest.fixture
def readout(variant: Variant) -> ReadoutKernel:
    return ReadoutKernel(variant)


@pytest.mark.parametrize("width", [1, 3, 8, 1000, 30_522])
def test_log_sum_exp_is_that_of_torch(readout: ReadoutKernel, width: int) -> None:
    rows = torch.randn(5, width, generator=torch.Generator().manual_seed(width)) * 6
    rows[1] += 300
    rows[2, 1:] = float("-inf")
    rows[3, 0] = 90
    expected = rows.double().logsumexp(1).float()
    torch.testing.assert_close(readout.log_sum_exp(rows), expected, atol=2e-6, rtol=2e-7)


@pytest.mark.parametrize(("width", "count"), [(1, 1), (5, 5), (40, 7), (30_522, 1), (30_522, 100)])
def test_the_largest_are_those_of_a_stable_sort(
    readout: ReadoutKernel, width: int, count: int
) -> None:
    generator = torch.Generator().manual_seed(width)
    # Few different values, many of them tied, some of them nothing; and all different.
    tied = torch.randint(0, 30, (6, width), generator=generator).float()
    tied[:, ::3] = float("-inf")
    tied[5] = float("-inf")
    for rows in (tied, torch.randn(4, width, generator=generator), tied.sort(1).values):
        expected, order = rows.sort(dim=1, descending=True, stable=True)
        values, ids = readout.largest(rows.contiguous(), count)
        assert torch.equal(values, expected[:, :count])
        assert torch.equal(ids, order[:, :count])
        admitted = torch.rand(width, generator=generator) > 0.4
        some = rows.masked_fill(~admitted, float("-inf"))
        expected, order = some.sort(dim=1, descending=True, stable=True)
        values, ids = readout.largest(rows.contiguous(), count, admitted)
        assert torch.equal(values, expected[:, :count])
        there = values.isfinite()
        assert torch.equal(ids[there], order[:, :count][there])


def test_what_is_admitted_is_said_for_every_place(readout: ReadoutKernel) -> None:
    for wrong in (torch.ones(7), torch.ones(6, dtype=torch.bool)):
        with pytest.raises(ValueError, match=r"bool \(7,\) says what is admitted"):
            readout.largest(torch.zeros(2, 7), 1, wrong)


def test_what_the_readout_kernel_takes(readout: ReadoutKernel) -> None:
    assert readout.takes(torch.zeros(2, 9), 9)
    assert not readout.takes(torch.zeros(2, 9), 10)
    assert not readout.takes(torch.zeros(2, 900), 129)
    assert not readout.takes(torch.zeros(2, 9).double())
    assert not readout.takes(torch.zeros(9, 2).t())


def test_sizes_that_the_layer_kernel_does_not_take(variant: Variant, layer: LayerKernel) -> None:
    lanes = variant.lanes
    assert layer.takes(torch.zeros(5, 4 * lanes), 4, 128)
    assert not layer.takes(torch.zeros(5, 4 * lanes), 4, 129)
    assert not layer.takes(torch.zeros(5, 4 * (lanes + 1)), 4, 9)
    assert not layer.takes(torch.zeros(5, 30), 4, 9)
    assert not layer.takes(torch.zeros(5, 1024), 4, 9)
    assert not layer.takes(torch.zeros(5, 4 * lanes, dtype=torch.bfloat16), 4, 9)
    with pytest.raises(ValueError, match=f"no whole vectors of {lanes}"):
        layer.gelu_(torch.zeros(1, lanes + 1))
    with pytest.raises(ValueError, match=f"no whole vectors of {lanes}"):
        layer.norm_of_sum(*[torch.zeros(1, lanes + 1)] * 4, 1e-12)
    states, starts = torch.zeros(5, 4 * lanes), np.array([0, 5])
    with pytest.raises(ValueError, match="do not go with"):
        layer.attention(states, states, states, np.array([0, 4]), starts, heads=4)
    with pytest.raises(ValueError, match="empty or too long"):
        layer.attention(states, states, states, np.array([0, 0, 5]), np.array([0, 0, 5]), heads=4)


@pytest.mark.parametrize("blocked", [False, True])
def test_layers_are_the_same_with_and_without_it(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, blocked: bool
) -> None:
    tiny = tiny if blocked else tiny.in_rows()
    rows = [prompt.row for prompt in tiny.prompts] * 2
    masks = [tiny.combined(1), None, tiny.combined(2, (2, 4)), None, tiny.combined(1)] * 2
    natively = plm.Engine(tiny.base).logits(rows, masks)
    monkeypatch.setattr("plm.layers.layer_kernel", lambda: None)
    in_torch = plm.Engine(tiny.base).logits(rows, masks)
    torch.testing.assert_close(natively, in_torch, atol=1e-5, rtol=1e-5)


@needs_kernel
def test_layers_run_natively_where_they_can(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    run = LayerKernel.attention
    monkeypatch.setattr(LayerKernel, "attention", lambda *a, **k: used.append(True) or run(*a, **k))
    plm.Engine(tiny.base).logits([prompt.row for prompt in tiny.prompts], [None] * 5)
    # MPNet adds a bias of its own to the scores.
    # And heads of eight do not fill the vectors of AVX-512.
    native = layer_kernel()
    assert native is not None
    taken = native.takes(torch.zeros(1, tiny.base.hidden_size), tiny.base.heads, 1)
    assert len(used) == (4 if taken and not tiny.base.architecture.relative_positions else 0)
