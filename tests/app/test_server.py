"""The socket that is listened on."""

import socket

import pytest

from app.errors import SettingsError
from app.server import listen
from app.settings import Settings


def test_answers_do_not_wait_for_acknowledgements() -> None:
    # asyncio sets TCP_NODELAY only on sockets that name their protocol.
    with listen(Settings(host="127.0.0.1", port=0)) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_an_address_that_cannot_be_listened_on_is_told() -> None:
    with pytest.raises(SettingsError, match="RELATA_HOST and RELATA_PORT: cannot listen on 192"):
        listen(Settings(host="192.0.2.1", port=0))
