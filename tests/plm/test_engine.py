from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import plm
from masks import MaskMismatchError

if TYPE_CHECKING:
    from tests.plm.conftest import Tiny


def test_unmasked_logits_are_the_hugging_face_models(tiny: Tiny) -> None:
    rows = [prompt.row for prompt in tiny.prompts]
    assert len({len(row.input_ids) for row in rows}) > 1  # attention is padded
    logits = plm.Engine(tiny.base).logits(rows, [None] * len(tiny.prompts))
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, tiny.reference_logits(tiny.prompts), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layers", [(3, 4), (1, 4), (2, 3), (4, 4), (1, 1)])
def test_masked_logits_are_the_pruned_models(tiny: Tiny, layers: tuple[int, int]) -> None:
    mask = tiny.combined(7, layers)
    rows = [prompt.row for prompt in tiny.prompts]
    logits = plm.Engine(tiny.base).logits(rows, [mask] * len(tiny.prompts))
    expected = tiny.reference_logits(tiny.prompts, mask)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    assert (logits - tiny.reference_logits(tiny.prompts)).abs().max() > 1e-2


def test_a_single_prompt_without_padding(tiny: Tiny) -> None:
    mask, prompts = tiny.combined(), tiny.prompts[:1]
    logits = plm.Engine(tiny.base).logits([prompts[0].row], [mask])
    expected = tiny.reference_logits(prompts, mask)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


def test_a_union_is_the_model_pruned_by_it(tiny: Tiny) -> None:
    mask = tiny.union(1, 2, 3)
    rows = [prompt.row for prompt in tiny.prompts]
    logits = plm.Engine(tiny.base).logits(rows, [mask] * len(tiny.prompts))
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
    together = engine.logits([prompt.row for prompt in prompts], sets).log_softmax(1)
    for row, (prompt, mask) in enumerate(zip(prompts, sets, strict=True)):
        alone = engine.logits([prompt.row], [mask]).log_softmax(1)
        torch.testing.assert_close(together[row], alone[0], atol=1e-4, rtol=0)
        assert torch.equal(together[row].topk(3).indices, alone[0].topk(3).indices)


def test_scores_of_some_tokens_are_normalised_over_all(tiny: Tiny) -> None:
    engine = plm.Engine(tiny.base)
    rows = [prompt.row for prompt in tiny.prompts]
    sets = [None, tiny.combined(1), tiny.combined(1), None, tiny.combined(2)]
    whole = engine.logits(rows, sets).log_softmax(1)
    ids = torch.arange(10).view(5, 1, 2)
    readings = engine.read(
        [
            plm.Probe(row, mask, plm.TokenScores(wanted.numpy().astype("int32")))
            for row, mask, wanted in zip(rows, sets, ids, strict=True)
        ]
    )
    scores = torch.tensor([reading.log_probs[0].tolist() for reading in readings])
    torch.testing.assert_close(scores, whole.gather(1, ids[:, 0]))


@pytest.mark.parametrize("seed", range(3))
def test_rows_of_many_slots_and_segments_are_the_hugging_face_models(tiny: Tiny, seed: int) -> None:
    chance = random.Random(seed)
    mask = tiny.combined(2)
    reference = {None: tiny.reference(), mask: tiny.reference(mask)}
    rows, sets, expected = [], [], []
    for _ in range(7):
        ids = list(chance.choice(tiny.prompts).input_ids)
        slots = tuple(sorted(chance.sample(range(1, len(ids) - 1), chance.randint(1, 3))))
        second = chance.randint(2, len(ids) - 1) if tiny.base.has_segments else None
        for slot in slots:
            ids[slot] = tiny.base.mask_token_id
        types = {}
        if second is not None:
            types["token_type_ids"] = torch.tensor([[int(i >= second) for i in range(len(ids))]])
        chosen = chance.choice((None, mask))
        with torch.no_grad():
            logits = reference[chosen](input_ids=torch.tensor([ids]), **types).logits[0]
        expected.append(logits[list(slots)])
        rows.append(plm.EncodedRow(tuple(ids), slots, second))
        sets.append(chosen)
    logits = plm.Engine(tiny.base).logits(rows, sets)
    torch.testing.assert_close(logits, torch.cat(expected), atol=1e-5, rtol=1e-5)


def test_lower_layers_run_once_for_all_sets(bert: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, ...]] = []
    layer = plm.transformer_layer

    def counted(hidden: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        calls.append(tuple(hidden.shape[:1]))
        return layer(hidden, *args, **kwargs)

    monkeypatch.setattr("plm.states.transformer_layer", counted)
    rows = [prompt.row for prompt in bert.prompts]
    plm.Engine(bert.base).logits(rows, [bert.combined(seed) for seed in range(5)])
    tokens = sum(len(prompt.input_ids) for prompt in bert.prompts)
    assert calls == [(tokens,)] * 4


def test_threads_get_the_same_answers_while_sets_are_evicted(bert: Tiny) -> None:
    calm = plm.Engine(bert.base, native=False)
    masks = [bert.combined(seed) for seed in range(4)]
    rows = [prompt.row for prompt in bert.prompts[:2]]
    pairs = [(masks[i], masks[(i + 1) % 4]) for i in range(4)] * 8
    expected = [calm.logits(rows, pair) for pair in pairs]
    # Room for one set only, so that every thread evicts what another is using.
    size = plm.materialise(bert.base, masks[0]).byte_size
    crowded = plm.Engine(bert.base, cache_bytes=size, native=False)
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda pair: crowded.logits(rows, pair), pairs))
    for result, wanted in zip(results, expected, strict=True):
        torch.testing.assert_close(result, wanted, atol=1e-6, rtol=1e-6)
    assert crowded.cache.stats().entries == 1
    assert crowded.cache.stats().misses > 0


def test_one_mask_for_each_row(bert: Tiny) -> None:
    rows = [prompt.row for prompt in bert.prompts]
    with pytest.raises(ValueError, match="5 rows need as many masks, not 1"):
        plm.Engine(bert.base).logits(rows, [None])


def test_a_mask_of_another_base(bert: Tiny, mpnet: Tiny) -> None:
    rows = [prompt.row for prompt in bert.prompts[:1]]
    with pytest.raises(MaskMismatchError):
        plm.Engine(bert.base).logits(rows, [mpnet.combined()])


def test_more_tokens_than_there_are_give_all_that_are_eligible(tiny: Tiny) -> None:
    engine = plm.Engine(tiny.base)
    wanted = plm.TopTokens(10**6, words=True, excluded=(int(engine.words.nonzero()[0]),))
    (reading,) = engine.read([plm.Probe(tiny.prompts[0].row, None, wanted)])
    assert reading.token_ids is not None
    assert len(reading.token_ids) == int(engine.words.sum()) - 1


def test_many_rows_go_in_several_passes_on_a_cpu(
    bert: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = plm.Engine(bert.base)
    masks = [bert.combined(seed) for seed in (1, 2)]
    probes = [
        plm.Probe(prompt.row, mask, plm.TopTokens(3))
        for prompt in bert.prompts
        for mask in (masks[0], None, masks[1])
    ]
    whole = engine.read(probes)
    passes = []
    run = engine.run

    def noted(prepared: plm.PreparedPass) -> list[plm.Reading]:
        passes.append([probe.mask for probe in prepared.probes])
        return run(prepared)

    monkeypatch.setattr(engine, "run", noted)
    monkeypatch.setattr("plm.engine._PASS_TOKENS", 40)
    parts = engine.read(probes)
    assert len(passes) > 3
    # Those of a mask come after one another, over all passes.
    order = [mask and mask.digest for one in passes for mask in one]
    assert [digest for place, digest in enumerate(order) if digest != order[place - 1]] == [
        masks[0].digest,
        None,
        masks[1].digest,
    ]
    for found, expected in zip(parts, whole, strict=True):
        assert found.token_ids is not None
        assert expected.token_ids is not None
        assert found.token_ids.tolist() == expected.token_ids.tolist()
        np.testing.assert_allclose(found.log_probs, expected.log_probs, atol=1e-4)
