"""Stand-ins for what the proxy sees in Docker: replicas, and the DNS server that knows them."""

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_TTL = 0
_HEADER = struct.Struct(">6H")
_RESPONSE, _NAME_ERROR = 0x8180, 0x8183


class Dns:
    """Answers A queries for any name with the addresses of the moment, as Docker's own does."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Where it listens, as `host:port`."""
        host, port = self._socket.getsockname()
        return f"{host}:{port}"

    def close(self) -> None:
        """Stop answering."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                query, client = self._socket.recvfrom(4096)
            except OSError:
                return
            if len(query) < _HEADER.size:  # what a shut-down socket reads
                return
            self._socket.sendto(self._answer(query), client)

    def _answer(self, query: bytes) -> bytes:
        identity = _HEADER.unpack_from(query)[0]
        end = query.index(0, _HEADER.size) + 1 + 4
        question, addresses = query[_HEADER.size : end], list(self.addresses)
        code = _RESPONSE if addresses else _NAME_ERROR
        records = b"".join(
            # The name is a pointer to the question's, at byte 12.
            struct.pack(">HHHIH", 0xC00C, 1, 1, _TTL, 4) + socket.inet_aton(address)
            for address in addresses
        )
        return _HEADER.pack(identity, code, 1, len(addresses), 0, 0) + question + records


@contextlib.contextmanager
def serve_names() -> Iterator[Dns]:
    """A DNS server until the end of the block."""
    dns = Dns()
    try:
        yield dns
    finally:
        dns.close()


@dataclass
class Exchange:
    """One request as a replica sees it; `body` reads on as the client sends."""

    handler: BaseHTTPRequestHandler
    number: int

    def body(self) -> bytes:
        """The whole body."""
        return self.handler.rfile.read(int(self.handler.headers.get("content-length", 0)))

    def answer(self, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Send an answer that names the replica."""
        address = self.handler.server.server_address[0]
        body = json.dumps({"replica": address, "number": self.number}).encode()
        self.handler.send_response(status)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            self.handler.send_header(name, value)
        self.handler.send_header("content-length", str(len(body)))
        self.handler.end_headers()
        self.handler.wfile.write(body)

    def hang_up(self) -> None:
        """Close the connection without an answer."""
        self.handler.close_connection = True
        with contextlib.suppress(OSError):
            self.handler.connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Nothing: a proxy may drop a check that it no longer needs."""


def _answer_all(exchange: Exchange) -> None:
    exchange.body()
    exchange.answer()


@dataclass
class Replica:
    """An HTTP server that counts what it is asked.

    Attributes:
        behave: what is done with a POST.
        ready: the status of `GET /ready`.
        paths: the requests that came, but for `/ready`.
        headers: those of the last one.
    """

    address: str
    port: int
    behave: Callable[[Exchange], None] = _answer_all
    ready: int = 200
    paths: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    _server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Listen."""
        replica = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status = replica.ready if self.path == "/ready" else 200
                if self.path != "/ready":
                    replica.paths.append(self.path)
                Exchange(self, len(replica.paths)).answer(status)

            def do_POST(self) -> None:
                replica.paths.append(self.path)
                replica.headers = {name.lower(): value for name, value in self.headers.items()}
                replica.behave(Exchange(self, len(replica.paths)))

            def log_message(self, *_: object) -> None:
                """Nothing: a test says what it saw."""

        self._server = _Server((self.address, self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def free_port() -> int:
    """A port that is free on every loopback address."""
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def replicas(count: int) -> Iterator[list[Replica]]:
    """Replicas on 127.0.0.2 and up, all on one port, as containers of a service are."""
    port = free_port()
    started = [Replica(f"127.0.0.{number + 2}", port) for number in range(count)]
    for replica in started:
        replica.start()
    try:
        yield started
    finally:
        for replica in started:
            replica.stop()
