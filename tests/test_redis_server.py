"""The redis-server of the tests does to its clients what its names say."""

import pytest
import redis

from tests.conftest import StartRedis
from tests.redis_server import RedisServer


def test_killed_it_is_gone_and_restarted_it_is_empty(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.set("a", "1")
    redis_server.kill()
    with redis_server.client() as client, pytest.raises(redis.ConnectionError):
        client.get("a")
    redis_server.start()
    with redis_server.client() as client:
        assert client.get("a") is None


def test_a_persistent_one_keeps_its_data(start_redis_server: StartRedis) -> None:
    server = start_redis_server(persistent=True)
    with server.client() as client:
        client.set("a", "1")
    server.restart()
    with server.client() as client:
        assert client.get("a") == b"1"


def test_paused_it_answers_nothing_until_it_is_resumed(redis_server: RedisServer) -> None:
    impatient = redis.Redis(port=redis_server.port, socket_timeout=0.2, retry=None)
    redis_server.pause()
    with impatient, pytest.raises(redis.TimeoutError):
        impatient.ping()
    redis_server.resume()
    with redis_server.client() as client:
        assert client.ping()


def test_full_it_refuses_writes_and_answers_reads(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.set("a", "1")
        redis_server.fill()
        with pytest.raises(redis.OutOfMemoryError):
            client.set("b", "1")
        assert client.get("a") == b"1"
        redis_server.drain()
        assert client.set("b", "1")
