"""`relata serve`."""

from app.logs import set_up_logging
from app.server import serve
from app.settings import Settings


def run(settings: Settings) -> None:
    """Serve until told to stop."""
    set_up_logging(settings.log_level, settings.log_format)
    serve(settings)
