"""A worker's `/metrics`: served by its main process alone.

A child that is forked while the page is served, in a dead one's place, has the listening socket too: it would keep the
port from the next worker for as long as it outlives its main process. So each child closes it, before it opens anything
of its own: `leave` is connected before whatever else a child does when it begins.
"""

from wsgiref.simple_server import WSGIServer

from prometheus_client import start_http_server

from runtime.metrics_server import unanswered
from runtime.settings import Settings


class WorkerPage:
    """Both methods are receivers of Celery's signals."""

    def __init__(self, settings: Settings) -> None:
        self._address = settings.worker_http_port, settings.worker_http_host
        self._server: WSGIServer | None = None

    def serve(self, **_: object) -> None:
        """Called in the main process when the children are forked.

        Not before: a fork with the serving thread running copies its locks in whatever state. Those that replace a dead
        child are forked so; they count nothing themselves, so none of these locks is theirs to take.
        """
        self._server, _thread = start_http_server(*self._address)
        self._server.handle_error = unanswered  # type: ignore[method-assign]

    def leave(self, **_: object) -> None:
        """Called in each child."""
        if self._server is not None:
            self._server.socket.close()
