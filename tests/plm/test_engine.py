from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import torch

import plm
from masks import MaskMismatchError

if TYPE_CHECKING:
    from tests.plm.conftest import Tiny


def test_unmasked_logits_are_the_hugging_face_models(tiny: Tiny) -> None:
    # The prompts differ in length, so the batch is padded.
    batch = plm.collate(tiny.prompts, tiny.base)
    assert not batch.attention_mask.all()
    logits = plm.Engine(tiny.base).forward(batch, [None] * len(tiny.prompts))
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, tiny.reference_logits(tiny.prompts), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layers", [(3, 4), (1, 4), (2, 3), (4, 4), (1, 1)])
def test_masked_logits_are_the_pruned_models(tiny: Tiny, layers: tuple[int, int]) -> None:
    mask = tiny.combined(7, layers)
    batch = plm.collate(tiny.prompts, tiny.base)
    logits = plm.Engine(tiny.base).forward(batch, [mask] * len(tiny.prompts))
    expected = tiny.reference_logits(tiny.prompts, mask)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    assert (logits - tiny.reference_logits(tiny.prompts)).abs().max() > 1e-2


def test_a_single_prompt_without_padding(tiny: Tiny) -> None:
    mask, prompts = tiny.combined(), tiny.prompts[:1]
    logits = plm.Engine(tiny.base).forward(plm.collate(prompts, tiny.base), [mask])
    expected = tiny.reference_logits(prompts, mask)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


def test_a_union_is_the_model_pruned_by_it(tiny: Tiny) -> None:
    mask = tiny.union(1, 2, 3)
    batch = plm.collate(tiny.prompts, tiny.base)
    logits = plm.Engine(tiny.base).forward(batch, [mask] * len(tiny.prompts))
    expected = tiny.reference_logits(tiny.prompts, mask)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_results_do_not_depend_on_what_shares_the_batch(tiny: Tiny, seed: int) -> None:
    chance = random.Random(seed)
    engine = plm.Engine(tiny.base)
    choices = [
        None,
        tiny.combined(1),
        tiny.combined(2, (2, 4)),
        tiny.combined(3, (2, 3)),
        tiny.combined(4, (4, 4)),
        tiny.union(1, 5),
    ]
    prompts = [chance.choice(tiny.prompts) for _ in range(chance.randint(2, 12))]
    sets = [chance.choice(choices) for _ in prompts]
    together = engine.forward(plm.collate(prompts, tiny.base), sets).log_softmax(1)
    for row, (prompt, mask) in enumerate(zip(prompts, sets, strict=True)):
        alone = engine.forward(plm.collate([prompt], tiny.base), [mask]).log_softmax(1)
        torch.testing.assert_close(together[row], alone[0], atol=1e-4, rtol=0)
        assert torch.equal(together[row].topk(3).indices, alone[0].topk(3).indices)


def test_log_probs_of_some_tokens_are_normalised_over_all(tiny: Tiny) -> None:
    engine = plm.Engine(tiny.base)
    batch = plm.collate(tiny.prompts, tiny.base)
    sets = [None, tiny.combined(1), tiny.combined(1), None, tiny.combined(2)]
    whole = engine.forward(batch, sets).log_softmax(1)
    ids = torch.tensor([9, 30, 11])
    torch.testing.assert_close(engine.log_probs(batch, sets, ids), whole[:, ids])
    each = torch.arange(10).view(5, 2)
    torch.testing.assert_close(engine.log_probs(batch, sets, each), whole.gather(1, each))


def test_lower_layers_run_once_for_all_sets(bert: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, ...]] = []
    layer = plm.transformer_layer

    def counted(hidden: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        calls.append(tuple(hidden.shape[:1]))
        return layer(hidden, *args, **kwargs)

    monkeypatch.setattr("plm.states.transformer_layer", counted)
    batch = plm.collate(bert.prompts, bert.base)
    plm.Engine(bert.base).forward(batch, [bert.combined(seed) for seed in range(5)])
    assert calls == [(5,)] * 4


def test_threads_get_the_same_answers_while_sets_are_evicted(bert: Tiny) -> None:
    calm = plm.Engine(bert.base)
    masks = [bert.combined(seed) for seed in range(4)]
    batch = plm.collate(bert.prompts[:2], bert.base)
    pairs = [(masks[i], masks[(i + 1) % 4]) for i in range(4)] * 8
    expected = [calm.forward(batch, pair) for pair in pairs]
    # Room for one set only, so that every thread evicts what another is using.
    crowded = plm.Engine(bert.base, cache_bytes=plm.materialise(bert.base, masks[0]).byte_size)
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda pair: crowded.forward(batch, pair), pairs))
    for result, wanted in zip(results, expected, strict=True):
        torch.testing.assert_close(result, wanted, atol=1e-6, rtol=1e-6)
    assert crowded.cache.stats().entries == 1
    assert crowded.cache.stats().evictions > 0


def test_one_mask_for_each_row(bert: Tiny) -> None:
    batch = plm.collate(bert.prompts, bert.base)
    with pytest.raises(ValueError, match="5 rows need as many masks, not 1"):
        plm.Engine(bert.base).forward(batch, [None])


def test_a_mask_of_another_base(bert: Tiny, mpnet: Tiny) -> None:
    batch = plm.collate(bert.prompts[:1], bert.base)
    with pytest.raises(MaskMismatchError):
        plm.Engine(bert.base).forward(batch, [mpnet.combined()])
