"""The cache of answers: what the model said to a probe, by all that decides it.

It is kept in the memory of the process and, where there is one, in a Redis that several servers
share; whatever happens to Redis costs time and never an answer.
"""

from app.cache.answer_cache import AnswerCache
from app.cache.answers import AnswerCacheStats, Answers, Source
from app.cache.keys import AnswerKeys
from app.cache.memory import MemoryTier
from app.cache.redis_tier import RedisTier
from app.cache.status import cache_status

__all__ = [
    "AnswerCache",
    "AnswerCacheStats",
    "AnswerKeys",
    "Answers",
    "MemoryTier",
    "RedisTier",
    "Source",
    "cache_status",
]
