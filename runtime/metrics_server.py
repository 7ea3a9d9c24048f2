"""What a server of metrics or probes says of a request that it could not answer: nothing, if the scraper has gone.

The standard library's servers print a traceback instead. Put in the place of their `handle_error`.
"""

import sys

from runtime.logging import get_logger

log = get_logger(__name__)


def unanswered(request: object, client_address: object) -> None:  # noqa: ARG001
    """Called where an exception is handled. A scraper that leaves, or is too slow, knows of it itself."""
    error = sys.exception()
    if not isinstance(error, OSError):
        log.error("scrape_failed", exc_info=error)
