"""Runs the application on a socket, until it is told to stop or cannot start."""

import logging
import os
import signal
import socket
import sys
from types import FrameType

import uvicorn

from app.connections import HEAD_BYTES, connection_class
from app.draining import DrainingServer
from app.errors import SettingsError
from app.main import create_app
from app.memory import keep_buffers
from app.settings import Settings, unknown_variables

logger = logging.getLogger(__name__)

# The model's thread gives the interpreter away at each operation and wants it back in a moment; by
# default a thread that is parsing or writing JSON may keep it for ten operations' time.
_SWITCH_SECONDS = 0.0002
_BACKLOG = 2048
# Longer than clients and proxies keep a connection that is not used (60 s for many), so that it
# is not the server who closes it just when the next request is sent.
_KEEP_ALIVE_SECONDS = 75


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return.

    Raises:
        SettingsError: the address cannot be listened on.
        PlmError, MaskError, StartupError: base or packs cannot be loaded.
    """
    for name in unknown_variables(os.environ):
        logger.warning("%s is set, but there is no such setting", name)
    sys.setswitchinterval(_SWITCH_SECONDS)
    keep_buffers()
    failures: list[Exception] = []

    def stop(error: Exception) -> None:
        failures.append(error)
        server.should_exit = True

    listener = listen(settings)
    app = create_app(settings, on_failure=stop)
    server = DrainingServer(
        uvicorn.Config(
            app,
            http=connection_class(),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            h11_max_incomplete_event_size=HEAD_BYTES,
        ),
        listener=listener,
        readiness=app.state.readiness,
        drain_seconds=settings.drain_seconds,
    )
    # The server drains at a signal and then raises it again, for whoever handled it before.
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    host, port = listener.getsockname()[:2]
    logger.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)
    try:
        server.run()
    finally:
        if failures:
            raise failures[0]


def listen(settings: Settings) -> socket.socket:
    """A socket that listens on the address of the settings.

    Raises:
        SettingsError: it cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # The protocol must be named: asyncio sets TCP_NODELAY only where it is, and without that
    # an answer waits 40 ms for the client's acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"RELATA_HOST and RELATA_PORT: cannot listen on {settings.host} port {settings.port} "
            f"({error.strerror or error})"
        ) from error
    return listener


def _leave(_: int, __: FrameType | None) -> None:
    sys.exit(0)
