"""Masks of 8 bits a weight, beside the Hugging Face model whose weights are multiplied."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import plm
from masks import Combine, PackedMask, RelationMask, combine_masks
from plm.linear import linear
from plm.native import MaskedLinearKernel, kernel
from plm.unpacking import masked_weight, multiply_into

if TYPE_CHECKING:
    from tests.plm.conftest import Tiny


def expected(
    tiny: Tiny, prompts: tuple[plm.EncodedPrompt, ...], mask: RelationMask
) -> torch.Tensor:
    """Log-probabilities (B, V) of the Hugging Face model with the weights multiplied."""
    model = tiny.reference()
    with torch.no_grad():
        for name in mask.shapes:
            values = torch.from_numpy(mask.values(name).astype(np.float32))
            model.get_parameter(name).mul_(values / 255)
        batch = plm.collate(prompts, tiny.base)
        logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    return logits[torch.arange(len(prompts)), batch.mask_positions].log_softmax(-1)


def close(found: torch.Tensor, right: torch.Tensor) -> None:
    torch.testing.assert_close(found.log_softmax(-1), right, atol=1e-4, rtol=0)


@pytest.mark.parametrize("layers", [(3, 4), (1, 4), (2, 3)])
def test_it_is_the_model_with_its_weights_multiplied(tiny: Tiny, layers: tuple[int, int]) -> None:
    mask = tiny.expectation(3, layers)
    rows = [prompt.row for prompt in tiny.prompts]
    right = expected(tiny, tiny.prompts, mask)
    unmasked = tiny.reference_logits(tiny.prompts).log_softmax(-1)
    assert (right - unmasked).abs().max() > 1e-2
    engine = plm.Engine(tiny.base)
    # Made at its first use, made to be kept at the second, and held at the third.
    for _ in range(3):
        close(engine.logits(rows, [mask] * len(rows)), right)
    stats = engine.cache.stats()
    assert (stats.entries, stats.hits, stats.misses) == (1, 1, 2)
    assert stats.bytes == 4 * mask.weight_count


def test_alone_in_an_expression_it_is_itself(bert: Tiny) -> None:
    mask = bert.expectation()
    rows = [prompt.row for prompt in bert.prompts]
    combined = combine_masks([mask], Combine("union"))
    close(
        plm.Engine(bert.base).logits(rows, [combined] * len(rows)),
        expected(bert, bert.prompts, mask),
    )


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("cache_bytes", [0, 2**30])
def test_any_masks_share_a_pass(tiny: Tiny, native: bool, cache_bytes: int) -> None:
    soft = [tiny.expectation(1), tiny.expectation(2, (2, 3))]
    hard = [tiny.combined(3), tiny.combined(4, (2, 4)), tiny.union(5, 6)]
    masks: list[PackedMask | None] = [None, soft[0], hard[0], soft[1], hard[1], hard[2], None]
    prompts = [tiny.prompts[place % len(tiny.prompts)] for place in range(len(masks))]
    right = torch.cat(
        [
            expected(tiny, (prompt,), mask)
            if isinstance(mask, RelationMask)
            else tiny.reference_logits([prompt], mask).log_softmax(-1)  # type: ignore[arg-type]
            for prompt, mask in zip(prompts, masks, strict=True)
        ]
    )
    engine = plm.Engine(tiny.base, cache_bytes=cache_bytes, native=native)
    chance = random.Random(0)
    for _ in range(4):
        order = chance.sample(range(len(masks)), len(masks))
        logits = engine.logits([prompts[place].row for place in order], [masks[p] for p in order])
        close(logits, right[order])


@pytest.mark.skipif(kernel() is None, reason="the native kernel is not built, or cannot run")
def test_the_kernel_still_does_the_masks_of_one_bit_in_one_call(
    bert: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[bool]] = []
    call = MaskedLinearKernel.__call__

    def noted(run: MaskedLinearKernel, *arguments: Any, **others: Any) -> torch.Tensor:
        calls.append([bits is not None for bits in arguments[3]])
        return call(run, *arguments, **others)

    monkeypatch.setattr(MaskedLinearKernel, "__call__", noted)
    bert = bert.in_rows()
    row = bert.prompts[0].row
    masks = [bert.combined(1), bert.expectation(), None, bert.combined(2)]
    plm.Engine(bert.base).logits([row] * len(masks), masks)
    # The six linears of two layers, each once, with the unmasked rows between two masks.
    assert [masked for masked in calls if any(masked)] == [[True, False, True]] * 12


def test_a_linear_of_values_in_any_order() -> None:
    generator = torch.Generator().manual_seed(0)
    random_ = np.random.default_rng(0)
    base = plm.Linear(
        torch.randn(16, 24, generator=generator), torch.randn(16, generator=generator)
    )
    values = random_.integers(256, size=(16, 24), dtype="u1")
    bits = np.packbits(random_.random((16, 24)) < 0.5, axis=1, bitorder="little")
    soft = plm.MaskedLinear(base, {"w": values}, "w", bits_per_weight=8)
    hard = plm.MaskedLinear(base, {"w": bits}, "w")
    for parts in ([soft, hard, base], [hard, soft, base], [hard, base, soft], [soft, soft, soft]):
        sizes = (2, 3, 1)
        states = torch.randn(6, 24, generator=generator)
        with torch.inference_mode():
            found = linear(states, parts, sizes)
        right = torch.cat(
            [
                functional.linear(block, part.weight.clone(), part.bias)
                for block, part in zip(states.split(sizes), parts, strict=True)
            ]
        )
        torch.testing.assert_close(found, right, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_ends_are_exact_in_every_type(dtype: torch.dtype) -> None:
    weight = torch.randn(4, 256, dtype=dtype)
    values = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    made = masked_weight(weight, values, 8)
    assert torch.equal(made[:, 255], weight[:, 255])
    assert not made[:, 0].any()
    exact = weight.double() * torch.arange(256).double() / 255
    torch.testing.assert_close(
        made.double(), exact, atol=1e-6, rtol=1e-6 if dtype == torch.float32 else 1e-2
    )
    kept = multiply_into(torch.empty_like(weight), weight, values, 8)
    assert torch.equal(kept, made)
