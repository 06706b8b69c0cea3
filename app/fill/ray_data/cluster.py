"""A Ray cluster, for as long as a job takes."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from app.fill.errors import FillError

LOCAL = "local"

_REACH_SECONDS = 10


def ray_module() -> Any:
    """ray with its `data`, which is installed on request only.

    Raises:
        FillError: it is not installed.
    """
    try:
        import ray  # noqa: PLC0415 - an optional dependency
        import ray.data  # noqa: PLC0415
    except ImportError as error:
        raise FillError(f"--ray needs Ray Data ({error}): pip install 'relata[ray]'") from None
    return ray


@contextmanager
def connected(ray: Any, address: str, *, cpus: int) -> Iterator[None]:
    """Be connected to a cluster; one that this process is connected to already stays so.

    Args:
        address: as in `ray.init`; `local` starts one on this machine with `cpus`.

    Raises:
        FillError: there is none at the address.
    """
    if ray.is_initialized():
        yield
        return
    given: dict[str, object] = {"address": address, "logging_level": "warning"}
    if address == LOCAL:
        # Nothing leaves the machine that was not asked for.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        given |= {"num_cpus": cpus, "include_dashboard": False}
    try:
        _reach(address)
        ray.init(**given)
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise FillError(
            f"there is no Ray cluster at {address!r} ({reason:.200}); say local to start one "
            "here, auto for the one of this machine, or HOST:PORT as `ray start` says it"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Whether somebody listens at HOST:PORT; Ray itself would try for more than a minute."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), _REACH_SECONDS).close()
