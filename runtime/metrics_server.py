"""Error handler for servers of metrics and probes: a log line, or nothing if the scraper has disconnected.

The standard library's servers print a traceback instead. It replaces their `handle_error`.
"""

import sys

from runtime.logging import get_logger

log = get_logger(__name__)


def log_scrape_error(request: object, client_address: object) -> None:  # noqa: ARG001
    """Log the exception that is being handled, unless the scraper disconnected or was too slow."""
    error = sys.exception()
    if not isinstance(error, OSError):
        log.error("scrape_failed", exc_info=error)
