"""What tests of several packages share."""

import os
import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.redis_server import RedisServer, start_redis

# Where tests run in several processes, each takes its share of the processors; torch reads this
# when it is imported, which no test has done yet.
if (workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT")) is not None:
    share = (os.cpu_count() or 1) // int(workers)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))

# Without a GPU, Triton's kernels run in its interpreter, which must be said before it is imported.
if shutil.which("nvidia-smi") is None:
    os.environ.setdefault("TRITON_INTERPRET", "1")

StartRedis = Callable[..., RedisServer]


@pytest.fixture
def start_redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartRedis]:
    """Start a redis-server (`persistent=True`: it keeps its data); all end with the test."""
    started: list[RedisServer] = []

    def start(*, persistent: bool = False) -> RedisServer:
        server = start_redis(tmp_path_factory.mktemp("redis"), persistent=persistent)
        started.append(server)
        return server

    yield start
    for server in started:
        server.kill()


@pytest.fixture
def redis_server(start_redis_server: StartRedis) -> RedisServer:
    """A redis-server that forgets all when it is killed."""
    return start_redis_server()
