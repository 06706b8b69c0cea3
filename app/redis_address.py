"""Where a Redis is: a URL, checked before anything connects, and the part of it that may be shown.

Parts that a URL does not need are refused rather than ignored, so that a slip shows at the start.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

_DEFAULT_PORT = 6379
_UNREADABLE = (
    "its host or port cannot be read; a port is 1 to 65535, and '/', '?' and ':' of a password "
    "are written %2F, %3F and %3A"
)
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_CHOICES = {
    "ssl_cert_reqs": ("required", "optional", "none"),
    "ssl_check_hostname": ("true", "false"),
}


@dataclass(frozen=True)
class RedisAddress:
    """A Redis.

    Attributes:
        url: all that is needed to connect; holds the password, so it is not for logs.
        shown: scheme, host and port, and database; or the path of the socket.
    """

    url: str = field(repr=False)
    shown: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Check a URL: `redis://`, `rediss://` (TLS) or `unix://`.

        Raises:
            ValueError: it cannot be used; the message says why, and holds nothing of the URL that
                could be part of a password.
        """
        if "#" in url or any(character.isspace() for character in url):
            raise ValueError("it has a '#' or a space; in a password these are %23 and %20")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError(_UNREADABLE) from None
        match parts.scheme:
            case "redis" | "rediss":
                return cls(url, _shown_host(parts, port))
            case "unix":
                return cls(url, _shown_socket(parts))
        raise ValueError("it begins with neither redis:// nor rediss:// nor unix://")


def _shown_host(parts: SplitResult, port: int | None) -> str:
    if not parts.hostname:
        raise ValueError("it names no host")
    if port == 0:
        raise ValueError(_UNREADABLE)
    database = parts.path.removeprefix("/")
    if database and not _is_database(database):
        raise ValueError("what follows the host is no number of a database, such as /0")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name, value in options.items():
        if parts.scheme != "rediss" or name not in (*_FILES, *_CHOICES):
            raise ValueError(_no_option("rediss:// takes " + ", ".join((*_FILES, *_CHOICES))))
        if name in _FILES and not Path(value).is_file():
            raise ValueError(f"the file of its {name} does not exist")
        if name in _CHOICES and value not in _CHOICES[name]:
            raise ValueError(f"its {name} is one of {', '.join(_CHOICES[name])}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port or _DEFAULT_PORT}/{database or 0}"


def _shown_socket(parts: SplitResult) -> str:
    if parts.hostname or not parts.path.startswith("/"):
        raise ValueError("it names no socket by its full path, such as unix:///run/redis.sock")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if set(options) - {"db"}:
        raise ValueError(_no_option("unix:// takes db"))
    database = options.get("db", "0")
    if not _is_database(database):
        raise ValueError("its db is no number of a database, such as 0")
    return f"unix://{unquote(parts.path)}?db={database}"


def _is_database(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _no_option(right: str) -> str:
    return f"it has options after a '?' that are not known here: {right}, and redis:// takes none"
