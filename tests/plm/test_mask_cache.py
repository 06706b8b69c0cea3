from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import plm
from masks import MaskMismatchError

if TYPE_CHECKING:
    from tests.plm.conftest import Tiny


SET_BYTES = 4 * 2 * (4 * 32 * 32 + 2 * 32 * 64)


def test_the_least_recently_used_set_goes_first(bert: Tiny) -> None:
    cache = plm.MaskCache(bert.base, 2 * SET_BYTES)
    first, second, third = (bert.combined(seed) for seed in (1, 2, 3))
    kept = cache.get(first)
    cache.get(second)
    assert cache.get(first) is kept
    cache.get(third)
    assert cache.get(first) is kept
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.evictions) == (2, 3, 1)
    assert (stats.entries, stats.bytes, stats.capacity) == (2, 2 * SET_BYTES, 2 * SET_BYTES)
    cache.get(second)
    assert cache.stats().misses == 4


def test_equal_masks_share_a_set(bert: Tiny) -> None:
    cache = plm.MaskCache(bert.base, 10 * SET_BYTES)
    assert cache.get(bert.union(1, 2)) is cache.get(bert.union(2, 1))


@pytest.mark.parametrize("capacity", [0, SET_BYTES - 1])
def test_a_set_larger_than_the_cache_is_served_but_not_kept(bert: Tiny, capacity: int) -> None:
    cache = plm.MaskCache(bert.base, capacity)
    mask = bert.combined()
    assert cache.get(mask).digest == mask.digest
    assert cache.get(mask).digest == mask.digest
    stats = cache.stats()
    assert (stats.misses, stats.entries, stats.bytes, stats.evictions) == (2, 0, 0, 0)


def test_no_negative_capacity(bert: Tiny) -> None:
    with pytest.raises(ValueError, match="not -1"):
        plm.MaskCache(bert.base, -1)


def test_threads_materialise_a_missing_set_once(
    bert: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    gate = threading.Barrier(8)

    def slow(base: plm.BaseModel, mask: object) -> plm.MaskedLayers:
        made.append(mask)
        time.sleep(0.05)
        return plm.materialise(base, mask)

    monkeypatch.setattr("plm.mask_cache.materialise", slow)
    cache = plm.MaskCache(bert.base, 10 * SET_BYTES)
    mask = bert.combined()

    def get(_: int) -> plm.MaskedLayers:
        gate.wait()
        return cache.get(mask)

    with ThreadPoolExecutor(8) as pool:
        sets = list(pool.map(get, range(8)))
    assert len(made) == 1
    assert all(masked is sets[0] for masked in sets)
    assert (cache.stats().hits, cache.stats().misses) == (7, 1)


def test_a_failure_is_not_remembered(bert: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(base: plm.BaseModel, mask: object) -> plm.MaskedLayers:
        raise MemoryError

    cache = plm.MaskCache(bert.base, 10 * SET_BYTES)
    with monkeypatch.context() as patch:
        patch.setattr("plm.mask_cache.materialise", fail)
        with pytest.raises(MemoryError):
            cache.get(bert.combined())
    assert cache.get(bert.combined()).first == 3


def test_another_base_is_refused_even_if_the_digest_is_held(bert: Tiny, mpnet: Tiny) -> None:
    cache = plm.MaskCache(bert.base, SET_BYTES)
    mask = bert.combined()
    cache.get(mask)
    with pytest.raises(MaskMismatchError, match="was made for base"):
        cache.get(replace(mask, base_digest=mpnet.base.digest))


def test_sets_that_the_engine_made_can_take_part_in_a_gradient(bert: Tiny) -> None:
    engine = plm.Engine(bert.base)
    mask = bert.combined()
    batch = plm.collate(bert.prompts, bert.base)
    engine.forward(batch, [mask] * len(bert.prompts))
    hidden = plm.lower_states(bert.base, batch, 3).requires_grad_()
    layers = engine.cache.get(mask).layers
    rows = plm.upper_rows(bert.base, hidden, batch.attention_mask, batch.mask_positions, layers)
    rows.sum().backward()
    assert hidden.grad is not None
