"""The header that says what the cache did."""

from collections import Counter

import pytest

from app.cache import Source, cache_status

MEMORY, REDIS, SHARED, MODEL = Source


@pytest.mark.parametrize(
    ("sources", "status"),
    [
        ({MEMORY: 2}, 'relata;hit;detail="memory=2 redis=0 shared=0 model=0"'),
        ({MEMORY: 2, REDIS: 1}, 'relata;hit;detail="memory=2 redis=1 shared=0 model=0"'),
        ({MODEL: 3}, 'relata;fwd=miss;detail="memory=0 redis=0 shared=0 model=3"'),
        ({MODEL: 1, SHARED: 2}, 'relata;fwd=miss;detail="memory=0 redis=0 shared=2 model=1"'),
        ({SHARED: 2}, 'relata;fwd=miss;collapsed;detail="memory=0 redis=0 shared=2 model=0"'),
        ({REDIS: 1, MODEL: 1}, 'relata;fwd=partial;detail="memory=0 redis=1 shared=0 model=1"'),
        (
            {MEMORY: 1, SHARED: 1},
            'relata;fwd=partial;collapsed;detail="memory=1 redis=0 shared=1 model=0"',
        ),
    ],
)
def test_it_is_a_hit_only_if_all_was_held(sources: dict[Source, int], status: str) -> None:
    assert cache_status(Counter(sources)) == status
