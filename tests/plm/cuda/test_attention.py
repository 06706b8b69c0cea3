"""Attention without padding, in Triton's interpreter on the CPU, and on a GPU if there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
import torch
from torch.nn import functional

import plm

pytest.importorskip("triton", reason="Triton is not installed")

from plm.cuda import VarlenAttention, cuda_attention
from plm.cuda.attention import attention
from plm.cuda.varlen import attention_works

if TYPE_CHECKING:
    from tests.plm.conftest import Tiny

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")


@pytest.fixture
def run() -> VarlenAttention:
    return VarlenAttention(attention)


def starts_of(lengths: Sequence[int]) -> torch.Tensor:
    return torch.tensor([0, *lengths]).cumsum(0).to(DEVICE)


def expected_of(
    states: Sequence[torch.Tensor], lengths: Sequence[int], asked: Sequence[int], heads: int
) -> torch.Tensor:
    parts = []
    split = [
        part.split(list(sizes))
        for part, sizes in zip(states, (asked, lengths, lengths), strict=True)
    ]
    for sentence in zip(*split, strict=True):
        q, k, v = (part.double().unflatten(1, (heads, -1)).transpose(0, 1) for part in sentence)
        parts.append(functional.scaled_dot_product_attention(q, k, v).transpose(0, 1).flatten(1))
    return torch.cat(parts)


# Sentences shorter and longer than a block of keys and than a tile of queries; heads whose depth
# is and is not a power of two.
@pytest.mark.parametrize(("heads", "depth"), [(2, 32), (3, 24), (1, 8), (2, 64)])
@pytest.mark.parametrize(
    ("lengths", "asked"),
    [((9, 9, 9), (9, 9, 9)), ((1, 40, 17), (1, 40, 17)), ((70, 3, 33), (1, 2, 0)), ((5,), (5,))],
)
def test_it_is_attention_sentence_by_sentence(
    run: VarlenAttention, heads: int, depth: int, lengths: tuple[int, ...], asked: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(depth + sum(lengths))
    query = 3 * torch.randn(sum(asked), heads * depth, generator=generator)
    key, value = torch.randn(2, sum(lengths), heads * depth, generator=generator)
    found = run(
        query.to(DEVICE),
        key.to(DEVICE),
        value.to(DEVICE),
        starts_of(lengths),
        starts_of(asked),
        heads=heads,
        longest=max(lengths),
        most_queries=max(asked),
    )
    expected = expected_of((query, key, value), lengths, asked, heads)
    torch.testing.assert_close(found.cpu().double(), expected, atol=1e-5, rtol=1e-5)


def test_half_precision_rounds_the_shares_and_the_result_alone(run: VarlenAttention) -> None:
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(3, 50, 64, generator=generator).half()
    starts = starts_of((20, 30))
    query, key, value = states.to(DEVICE)
    found = run(query, key, value, starts, starts, heads=2, longest=30, most_queries=30)
    assert found.dtype == torch.float16
    expected = expected_of(list(states), (20, 30), (20, 30), 2)
    torch.testing.assert_close(found.cpu().double(), expected, atol=2e-3, rtol=2e-3)


def test_nothing_asked_is_nothing(run: VarlenAttention) -> None:
    states = torch.zeros(4, 16, device=DEVICE)
    starts, none_asked = starts_of((4,)), starts_of((0,))
    none = run(states[:0], states, states, starts, none_asked, heads=2, longest=4, most_queries=0)
    assert none.shape == (0, 16)


def test_shapes_must_go_together(run: VarlenAttention) -> None:
    states, starts = torch.zeros(4, 16, device=DEVICE), starts_of((4,))
    for query, value, heads in (
        (states, states[:3], 2),
        (states[:, :8], states, 2),
        (states, states, 3),
        (states.half(), states, 2),
    ):
        with pytest.raises(ValueError, match="do not go together"):
            run(query, states, value, starts, starts, heads=heads, longest=4, most_queries=4)


def test_it_is_tried_before_it_is_used(run: VarlenAttention) -> None:
    assert attention_works(run, DEVICE)

    class Wrong(VarlenAttention):
        def __call__(self, *arguments: object, **named: object) -> torch.Tensor:  # type: ignore[override]
            return run(*arguments, **named) + 1  # type: ignore[arg-type]

    assert not attention_works(Wrong(attention), DEVICE)


def test_what_it_takes(run: VarlenAttention) -> None:
    assert not run.takes(torch.zeros(3, 64), 2)
    assert (cuda_attention() is not None) == GPU
    if GPU:
        states = torch.zeros(3, 64, device=DEVICE)
        assert run.takes(states, 2)
        assert not run.takes(states, 3)
        assert not run.takes(torch.zeros(3, 512, device=DEVICE), 2)
        assert not run.takes(states.int(), 2)


@pytest.mark.skipif(GPU, reason="there is a GPU here")
def test_a_pass_goes_through_it_without_padding(
    run: VarlenAttention, monkeypatch: pytest.MonkeyPatch, tiny: Tiny
) -> None:
    # The way that a GPU takes, with tensors of the CPU in its place.
    class Counting(VarlenAttention):
        def takes(self, states: torch.Tensor, heads: int) -> bool:
            return states.shape[1] % heads == 0

        def __call__(self, *arguments: object, **named: object) -> torch.Tensor:  # type: ignore[override]
            asked.append(named["most_queries"])
            return run(*arguments, **named)  # type: ignore[arg-type]

    asked: list[object] = []
    monkeypatch.setattr("plm.layers.layer_kernel", lambda: None)
    rows = [prompt.row for prompt in tiny.prompts]
    masks = [tiny.combined(1), None, tiny.combined(2, (2, 4)), tiny.union(1, 3), tiny.combined(1)]
    expected = plm.Engine(tiny.base, native=False).logits(rows, masks)
    assert not asked
    monkeypatch.setattr("plm.layers.cuda_attention", lambda: Counting(attention))
    found = plm.Engine(tiny.base, native=False).logits(rows, masks)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    longest = max(len(row.input_ids) for row in rows)
    # In the last layer the slots alone ask; positions relative to one another need another way.
    plain = tiny.base.architecture.relative_positions is None
    assert asked == ([longest] * (tiny.base.layer_count - 1) + [1] if plain else [])
