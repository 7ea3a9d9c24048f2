"""A worker's `/metrics`: served by its main process alone.

A child that is forked while the endpoint is served, to replace a dead one, inherits the listening socket: it would keep
the port from the next worker for as long as it outlives its main process. So each child closes it, before it opens
anything of its own: `leave` is the first receiver of the signal that a child begins with.
"""

from wsgiref.simple_server import WSGIServer

from prometheus_client import start_http_server

from runtime.metrics_server import log_scrape_error
from runtime.settings import Settings


class MetricsEndpoint:
    """Both methods are receivers of Celery's signals."""

    def __init__(self, settings: Settings) -> None:
        self._address = settings.worker_http_port, settings.worker_http_host
        self._server: WSGIServer | None = None

    def serve(self, **_: object) -> None:
        """Called in the main process when the children are forked.

        Not before: a fork with the serving thread running copies its locks in whatever state. Children that replace a
        dead one are forked so; they count nothing themselves, so they take none of these locks.
        """
        self._server, _thread = start_http_server(*self._address)
        self._server.handle_error = log_scrape_error  # type: ignore[method-assign]

    def leave(self, **_: object) -> None:
        """Called in each child."""
        if self._server is not None:
            self._server.socket.close()
