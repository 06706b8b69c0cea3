"""The log: one line for each event, to standard error."""

import logging
import sys


def set_up_logging(level: str) -> None:
    """Log from `level` (debug, info, warning, error) up."""
    logging.basicConfig(
        level=level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        force=True,
    )
    # Other libraries' debugging tells nothing of this service, and httpx logs each request.
    for name in ("httpx", "httpcore", "urllib3", "filelock", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
