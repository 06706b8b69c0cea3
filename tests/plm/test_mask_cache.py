from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

import plm
from masks import MaskMismatchError, PackedMask
from tests.plm.conftest import OtherMask

if TYPE_CHECKING:
    from tests.plm.conftest import Tiny


SET_BYTES = 4 * 2 * (4 * 32 * 32 + 2 * 32 * 64)


def use(cache: plm.MaskCache, mask: PackedMask, times: int = 2) -> plm.MaskedLayers:
    for _ in range(times - 1):
        cache.get(mask)
    return cache.get(mask)


def test_a_set_is_held_from_its_second_use_on(bert: Tiny) -> None:
    cache = plm.MaskCache(bert.base, 2 * SET_BYTES)
    mask = bert.combined(1)
    assert cache.get(mask).byte_size == 0
    assert cache.stats().entries == 0
    held = cache.get(mask)
    assert held.byte_size == SET_BYTES
    assert cache.get(mask) is held
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.evictions) == (1, 2, 0)
    assert (stats.entries, stats.bytes, stats.capacity) == (1, SET_BYTES, 2 * SET_BYTES)


def test_the_least_recently_used_set_goes_for_a_more_popular_one(bert: Tiny) -> None:
    cache = plm.MaskCache(bert.base, 2 * SET_BYTES)
    first, second, third = (bert.combined(seed) for seed in (1, 2, 3))
    use(cache, first)
    use(cache, second)
    kept = cache.get(first)
    # Not used more often than the second set, which would have to go.
    assert use(cache, third).byte_size == 0
    assert cache.stats().evictions == 0
    assert cache.get(third).byte_size == SET_BYTES
    stats = cache.stats()
    assert (stats.entries, stats.bytes, stats.evictions) == (2, 2 * SET_BYTES, 1)
    assert cache.get(first) is kept
    assert cache.get(second).byte_size == 0


def test_a_flood_of_sets_asked_for_once_evicts_nothing(bert: Tiny) -> None:
    cache = plm.MaskCache(bert.base, SET_BYTES)
    kept = use(cache, bert.combined(0))
    for seed in range(1, 40):
        assert cache.get(bert.combined(seed)).byte_size == 0
    assert cache.get(bert.combined(0)) is kept


def test_what_is_popular_now_gets_in_some_day(bert: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plm.mask_cache._HALVE_AFTER", 16)
    cache = plm.MaskCache(bert.base, SET_BYTES)
    use(cache, bert.combined(0), 50)
    use(cache, bert.combined(1), 40)
    assert cache.get(bert.combined(1)).byte_size == SET_BYTES


def test_equal_masks_share_a_set(bert: Tiny) -> None:
    cache = plm.MaskCache(bert.base, 10 * SET_BYTES)
    assert use(cache, bert.union(1, 2)) is cache.get(bert.union(2, 1))


@pytest.mark.parametrize("capacity", [0, SET_BYTES - 1])
def test_a_set_larger_than_the_cache_is_served_but_not_kept(bert: Tiny, capacity: int) -> None:
    cache = plm.MaskCache(bert.base, capacity)
    mask = bert.combined()
    for _ in range(3):
        assert cache.get(mask).digest == mask.digest
    stats = cache.stats()
    assert (stats.misses, stats.entries, stats.bytes, stats.evictions) == (3, 0, 0, 0)


def test_no_negative_capacity(bert: Tiny) -> None:
    with pytest.raises(ValueError, match="not -1"):
        plm.MaskCache(bert.base, -1)


def test_one_thread_makes_the_set_that_is_kept(bert: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    gate = threading.Barrier(8)

    def slow(base: plm.BaseModel, mask: PackedMask, **_: object) -> plm.MaskedLayers:
        made.append(mask)
        time.sleep(0.05)
        return plm.materialise(base, mask)

    monkeypatch.setattr("plm.mask_cache.materialise", slow)
    cache = plm.MaskCache(bert.base, 10 * SET_BYTES)
    mask = bert.combined()
    cache.get(mask)

    def get(_: int) -> plm.MaskedLayers:
        gate.wait()
        return cache.get(mask)

    with ThreadPoolExecutor(8) as pool:
        sets = list(pool.map(get, range(8)))
    assert len(made) == 1
    assert sorted(masked.byte_size for masked in sets) == [0] * 7 + [SET_BYTES]
    assert cache.get(mask).byte_size == SET_BYTES


def test_a_failure_is_not_remembered(bert: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> plm.MaskedLayers:
        raise MemoryError

    cache = plm.MaskCache(bert.base, 10 * SET_BYTES)
    with monkeypatch.context() as patch:
        patch.setattr("plm.mask_cache.materialise", fail)
        with pytest.raises(MemoryError):
            use(cache, bert.combined())
    assert cache.get(bert.combined()).byte_size == SET_BYTES


def test_another_base_is_refused_even_if_the_digest_is_held(bert: Tiny, mpnet: Tiny) -> None:
    cache = plm.MaskCache(bert.base, SET_BYTES)
    mask = bert.combined()
    cache.get(mask)
    with pytest.raises(MaskMismatchError, match="was made for base"):
        cache.get(OtherMask.of(mask, base_digest=mpnet.base.digest))


def test_sets_that_the_engine_made_can_take_part_in_a_gradient(bert: Tiny) -> None:
    engine = plm.Engine(bert.base)
    mask = bert.combined()
    batch = plm.collate(bert.prompts, bert.base)
    engine.logits([prompt.row for prompt in bert.prompts], [mask] * len(bert.prompts))
    hidden = plm.lower_states(bert.base, batch, 3).requires_grad_()
    layers = use(engine.cache, mask).layers
    rows = plm.upper_rows(bert.base, hidden, batch.attention_mask, batch.mask_positions, layers)
    rows.sum().backward()
    assert hidden.grad is not None
