"""uvicorn's server, made to lose no request that has reached it when it is told to stop."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from app.readiness import Readiness

logger = logging.getLogger(__name__)

# For clients that do not send or read to the end, once no question is being worked on.
_PATIENCE_SECONDS = 30.0
_STEP_SECONDS = 0.05
# Accepted before anything else gets its turn.
_AT_ONCE = 64
# Without descriptors for more connections; those that wait are taken later.
_PAUSE_SECONDS = 1.0


class Acceptor:
    """Takes connections from a listening socket until it is closed, to the very last one.

    asyncio's own servers drop what was connected but not yet taken when they are closed.

    Args:
        listener: the socket, not blocking.
        make: makes the protocol of a connection.
    """

    def __init__(self, listener: socket.socket, make: Callable[[], asyncio.Protocol]) -> None:
        self._listener = listener
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._taking: set[asyncio.Task[None]] = set()
        self._resume: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Begin to take connections."""
        self._resume = None
        self._loop.add_reader(self._listener, self._accept, _AT_ONCE)

    async def close(self) -> None:
        """Take those that are there, and refuse any other from now on."""
        self._loop.remove_reader(self._listener)
        while self._accept(_AT_ONCE) == _AT_ONCE:
            pass
        if self._resume is not None:
            self._resume.cancel()
        self._listener.close()
        if self._taking:
            await asyncio.wait(self._taking)

    def _accept(self, most: int) -> int:
        for count in range(most):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return count
            except OSError as error:
                logger.error("connections cannot be accepted for a while: %s", error)
                self._loop.remove_reader(self._listener)
                self._resume = self._loop.call_later(_PAUSE_SECONDS, self.open)
                return count
            task = self._loop.create_task(self._take(connection))
            self._taking.add(task)
            task.add_done_callback(self._taking.discard)
        return most

    async def _take(self, connection: socket.socket) -> None:
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(self._make, connection)
        except OSError as error:
            # The client is gone already.
            logger.debug("a connection ended at once: %s", error)
            connection.close()


class DrainingServer(uvicorn.Server):
    """Serves on a listening socket, and drains at a signal.

    From SIGTERM on the service is not ready, and each answer asks its client to close the
    connection; everything is answered as before. When the time to drain is over, or at SIGINT at
    once, no connection is accepted any more, idle ones are closed, and what was accepted is
    answered. A second SIGINT ends all that.

    Args:
        config: of uvicorn.
        listener: the socket, not blocking.
        readiness: of the application.
        drain_seconds: from SIGTERM until connections are refused.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        listener: socket.socket,
        readiness: Readiness,
        drain_seconds: float,
    ) -> None:
        super().__init__(config)
        self._listener = listener
        self._readiness = readiness
        self._drain_seconds = drain_seconds
        self._grace = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then take connections."""
        await super().startup(sockets=[])
        self._acceptor = Acceptor(self._listener, self._connection)
        self._acceptor.open()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain."""
        self._readiness.draining = True
        self._grace = self._drain_seconds if sig == signal.SIGTERM else 0.0
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then stop the application."""
        time = asyncio.get_running_loop().time
        started = time()
        while time() < started + self._grace:
            await asyncio.sleep(_STEP_SECONDS)
        await self._acceptor.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._finish()
        if not self.force_exit:
            await self.lifespan.shutdown()

    def _connection(self) -> asyncio.Protocol:
        make: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        return make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    async def _finish(self) -> None:
        """Wait until all is answered: questions to their deadlines, anything else a while."""
        time = asyncio.get_running_loop().time
        state = self.server_state
        given_up = time() + _PATIENCE_SECONDS
        while (state.connections or state.tasks) and not self.force_exit:
            if self._works():
                given_up = time() + _PATIENCE_SECONDS
            elif time() > given_up:
                logger.error("%d connections are cut off", len(state.connections))
                for task in state.tasks:
                    task.cancel()
                return
            await asyncio.sleep(_STEP_SECONDS)

    def _works(self) -> bool:
        service = self._readiness.service
        return service is not None and service.inference.backlog().questions > 0
