"""The log: one line for each event, to standard error, as text or as JSON."""

import json
import logging
import sys
import threading
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

logger = logging.getLogger(__name__)

LogFormat = Literal["text", "json"]

# The id of the request that is being served; tasks and threads of a request inherit it.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s%(request)s"
# What every record has; the rest are fields of this very line.
_COMMON = frozenset(vars(logging.makeLogRecord({}))) | {
    "asctime",
    "color_message",
    "message",
    "request",
    "request_id",
}
# Their debugging tells nothing of this service, and httpx logs each request.
_QUIET = ("asyncio", "filelock", "httpcore", "httpx", "urllib3")


class JsonFormatter(logging.Formatter):
    """A record as a line of JSON: timestamp (RFC 3339), level, logger, message, and its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "timestamp": _timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := getattr(record, "request_id", ""):
            line["request_id"] = request_id
        # What begins with _ is a library's own: Ray stamps every record of its process.
        line |= {
            name: value
            for name, value in vars(record).items()
            if name not in _COMMON and not name.startswith("_")
        }
        if record.exc_info and record.exc_info[0] is not None:
            kind, error, _ = record.exc_info
            line["exception"] = {
                "type": f"{kind.__module__}.{kind.__qualname__}",
                "message": str(error),
                "traceback": self.formatException(record.exc_info),
            }
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line, ensure_ascii=False, default=str)


def set_up_logging(level: str, form: LogFormat = "text") -> None:
    """Log from `level` (debug, info, warning, error) up, whatever logger it comes from."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(_TEXT))
    handler.addFilter(note_request)
    # What a client sent stands in some lines and may hold half a surrogate pair.
    sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    threading.excepthook = _log_end_of_thread
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # It would write lines of its own form.
    library = logging.getLogger("transformers")
    library.handlers.clear()
    library.propagate = True


def note_request(record: logging.LogRecord) -> bool:
    """A filter that lets every record pass, with the id of the request that it belongs to."""
    request_id = REQUEST_ID.get()
    record.request_id = request_id
    record.request = f" [{request_id}]" if request_id else ""
    return True


def _log_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    """What Python would write to standard error as it is."""
    if ended.exc_value is not None:
        name = "a thread" if ended.thread is None else f"thread {ended.thread.name}"
        logger.critical("%s has ended", name, exc_info=ended.exc_value)


def _timestamp(seconds: float) -> str:
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
