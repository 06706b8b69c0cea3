"""Layers by graphs: on the CPU replaying is running again, on a GPU it is a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch

import plm
import plm.linear as linear_module

pytest.importorskip("triton", reason="Triton is not installed")

from plm.cuda import CudaMaskedLinear, VarlenAttention
from plm.cuda.attention import attention
from plm.cuda.masked_linear import masked_linear
from plm.device_masks import DeviceMasks
from plm.graphs import Bucket, LayerGraphs, graphs_work, layer_graphs
from plm.rows import EncodedRow

if TYPE_CHECKING:
    from masks import PackedMask
    from tests.plm.conftest import Tiny

GPU = torch.cuda.is_available()


def again(work: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
    """What a graph does: the same work on the same memory, its output where it was."""
    output = work().clone()

    def replay() -> None:
        output.copy_(work())

    return replay, output


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, bert: Tiny) -> plm.Engine:
    """An engine that goes the way of a GPU, with tensors of the CPU in its place."""
    kernel = CudaMaskedLinear(masked_linear)
    monkeypatch.setattr(CudaMaskedLinear, "takes", lambda *_: True)
    monkeypatch.setattr(CudaMaskedLinear, "dense_from", lambda *_: 256)
    monkeypatch.setattr(VarlenAttention, "takes", lambda *_: True)
    monkeypatch.setattr(linear_module, "cuda_kernel", lambda: kernel)
    monkeypatch.setattr(linear_module, "_native", linear_module._on_cuda)
    monkeypatch.setattr("plm.layers.layer_kernel", lambda: None)
    monkeypatch.setattr("plm.layers.cuda_attention", lambda: VarlenAttention(attention))
    made = plm.Engine(bert.base)
    made._from_bits = True
    made._device_masks = DeviceMasks(bert.base.device)
    made._graphs = LayerGraphs(bert.base, kernel, again)
    return made


def expected(bert: Tiny, rows: list[EncodedRow], masks: list[PackedMask | None]) -> torch.Tensor:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear_module, "_native", lambda *_: None)
        patch.setattr("plm.layers.cuda_attention", lambda: None)
        return plm.Engine(bert.base, native=False).logits(rows, masks)


def test_passes_of_one_bucket_share_a_graph(
    engine: plm.Engine, bert: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = engine._graphs
    assert graphs is not None
    runs = []
    taken = type(graphs).__call__

    def noted(*arguments: Any) -> torch.Tensor | None:
        found = taken(*arguments)
        runs.append(found is not None)
        return found

    monkeypatch.setattr(type(graphs), "__call__", noted)
    rows = [prompt.row for prompt in bert.prompts]
    masks = [bert.combined(1), None, bert.combined(2), bert.union(1, 3), bert.combined(1)]
    for turn in range(4):
        # Other sentences in another order, under other masks, of a number that fits the bucket.
        own_rows = rows[turn % 2 :] + rows[: turn % 2]
        own_masks = [*masks[turn:], *masks[:turn]]
        torch.testing.assert_close(
            engine.logits(own_rows, own_masks),
            expected(bert, own_rows, own_masks),
            atol=1e-4,
            rtol=1e-4,
        )
    # The first of a bucket goes without: it may be the last one, too.
    assert runs == [False, True, True, True]
    assert len(graphs._graphs) == 1


def test_masks_of_some_layers_and_none_have_graphs_of_their_own(
    engine: plm.Engine, bert: Tiny
) -> None:
    rows = [prompt.row for prompt in bert.prompts[:3]]
    cases: list[list[PackedMask | None]] = [
        [None] * 3,
        [bert.combined(1, (2, 4))] * 3,
        [bert.combined(1, (4, 4)), None, bert.combined(2, (4, 4))],
    ]
    for masks in cases * 2:
        torch.testing.assert_close(
            engine.logits(rows, masks), expected(bert, rows, masks), atol=1e-4, rtol=1e-4
        )
    assert engine._graphs is not None
    assert {bucket.first for bucket in engine._graphs._graphs} == {5, 2, 4}


def test_rows_of_several_slots(engine: plm.Engine, bert: Tiny) -> None:
    row = bert.prompts[0].row
    rows = [EncodedRow(row.input_ids, slots) for slots in ((1,), (2, 1, 3), (1, 4))]
    masks: list[PackedMask | None] = [bert.combined(1), None, bert.combined(2)]
    for _ in range(2):
        torch.testing.assert_close(
            engine.logits(rows, masks), expected(bert, rows, masks), atol=1e-4, rtol=1e-4
        )

    assert engine._graphs is not None
    assert len(engine._graphs._graphs) == 1


def test_masks_of_eight_bits_go_without(engine: plm.Engine, bert: Tiny) -> None:
    rows, soft = [prompt.row for prompt in bert.prompts[:2]], bert.expectation(1)
    for _ in range(2):
        torch.testing.assert_close(
            engine.logits(rows, [soft, None]),
            expected(bert, rows, [soft, None]),
            atol=1e-4,
            rtol=1e-4,
        )
    assert engine._graphs is not None
    assert not engine._graphs._graphs


def test_a_graph_that_cannot_be_recorded_leaves_passes_as_they_were(
    engine: plm.Engine, bert: Tiny, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(work: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
        raise RuntimeError("capture was invalidated")

    engine._graphs = LayerGraphs(bert.base, CudaMaskedLinear(masked_linear), fails)
    rows = [prompt.row for prompt in bert.prompts]
    masks: list[PackedMask | None] = [bert.combined(1)] * len(rows)
    for _ in range(3):
        torch.testing.assert_close(
            engine.logits(rows, masks), expected(bert, rows, masks), atol=1e-4, rtol=1e-4
        )
    assert [record.message for record in caplog.records] == [
        "passes go without CUDA graphs from here on: capture was invalidated"
    ]


def test_they_are_tried_before_they_are_used(engine: plm.Engine, bert: Tiny) -> None:
    kernel = CudaMaskedLinear(masked_linear)
    assert graphs_work(bert.base, LayerGraphs(bert.base, kernel, again))

    def wrong(work: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
        return (lambda: None), work().clone()  # always what was there when it was recorded

    assert not graphs_work(bert.base, LayerGraphs(bert.base, kernel, wrong))


def test_a_bucket_holds_every_pass_that_fits(bert: Tiny) -> None:
    rows = [prompt.row for prompt in bert.prompts]
    lengths = [len(row.input_ids) for row in rows]
    bucket = Bucket.of(plm.pack_rows(bert.base, rows), 3, 2)
    assert bucket.tokens >= sum(lengths) > bucket.tokens // 2
    assert (bucket.sentences, bucket.slots, bucket.sets) == (8, 8, 4)
    assert bucket.longest >= max(lengths)
    assert bucket.first == 2


@pytest.mark.skipif(GPU, reason="there is a GPU here")
def test_without_a_gpu_there_are_none(bert: Tiny) -> None:
    assert layer_graphs(bert.base) is None
    assert plm.Engine(bert.base)._graphs is None


@pytest.mark.skipif(not GPU, reason="there is no GPU here")
def test_on_a_gpu_passes_go_by_graphs(bert: Tiny) -> None:
    base = plm.load_base(bert.folder, device="cuda", dtype=torch.float32)
    engine = plm.Engine(base)
    assert engine._graphs is not None
    rows = [prompt.row for prompt in bert.prompts]
    masks: list[PackedMask | None] = [bert.combined(1), None, bert.combined(2), None, None]
    wanted = plm.Engine(bert.base, native=False).logits(rows, masks)
    for _ in range(3):
        found = engine.logits(rows, masks).cpu()
        torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-3)
    assert engine._graphs._graphs
