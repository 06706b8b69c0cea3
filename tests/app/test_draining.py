"""The last connections that a listening socket has, on both event loops."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from app.draining import Acceptor


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)
        self.transport.close()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    factory = asyncio.new_event_loop
    if request.param == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop

    def run(main: Any) -> Any:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main)

    return run


def _listener() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0), backlog=500)
    listener.setblocking(False)
    return listener


def _connect(address: Any, count: int) -> list[socket.socket]:
    return [socket.create_connection(address, 30) for _ in range(count)]


def _echo(client: socket.socket) -> bytes:
    with client:
        return client.recv(10)


def test_what_was_connected_before_the_end_is_served(run: Callable[..., Any]) -> None:
    async def main() -> None:
        listener = _listener()
        address = listener.getsockname()
        acceptor = Acceptor(listener, Echo)
        acceptor.open()
        # Nobody has had a turn at the event loop to accept them.
        clients = _connect(address, 200)
        for client in clients:
            client.sendall(b"hello")
        await acceptor.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, 30)
        for client in clients:
            assert await asyncio.to_thread(_echo, client) == b"hello"

    run(main())


def test_connections_are_taken_as_they_come(run: Callable[..., Any]) -> None:
    async def main() -> None:
        listener = _listener()
        address = listener.getsockname()
        acceptor = Acceptor(listener, Echo)
        acceptor.open()
        for _ in range(3):
            for client in _connect(address, 100):
                client.sendall(b"hello")
                assert await asyncio.to_thread(_echo, client) == b"hello"
        await acceptor.close()

    run(main())


def test_without_descriptors_it_waits_and_goes_on(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.draining._PAUSE_SECONDS", 0.1)

    class Starved(socket.socket):
        refusals = 3

        def accept(self) -> Any:
            if self.refusals:
                self.refusals -= 1
                raise OSError(24, "Too many open files")
            return super().accept()

    async def main() -> None:
        with _listener() as plain:
            listener = Starved(fileno=plain.detach())
        acceptor = Acceptor(listener, Echo)
        acceptor.open()
        (client,) = _connect(listener.getsockname(), 1)
        client.sendall(b"hello")
        assert await asyncio.to_thread(_echo, client) == b"hello"
        assert listener.refusals == 0
        await acceptor.close()

    run(main())
