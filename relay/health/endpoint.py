"""HTTP endpoint of the relay, in a thread of its own that answers even while the event loop hangs.

`/metrics` in Prometheus's text format. `/livez`: 200 while the loop turns, and the pipeline of a leader; 503 means
that only a restart helps. `/readyz`: 200 for a leader that publishes and for a standby behind a living leader; 503
with the reason for one that waits for the database, the broker or a required queue.
"""

import json
import threading
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from prometheus_client import REGISTRY, MetricsHandler

from relay.health.liveness import Liveness
from runtime.metrics_server import log_scrape_error

REQUEST_SECONDS = 5.0
STOP_POLL_SECONDS = 0.5

Answer = tuple[HTTPStatus, dict[str, str | int]]


class ProbesError(Exception):
    """The server cannot listen on the address of the probes; the message names it."""


def live(liveness: Liveness) -> Answer:
    """The answer of `/livez`."""
    reason = liveness.dead()
    if reason is not None:
        return HTTPStatus.SERVICE_UNAVAILABLE, {"reason": reason}
    return HTTPStatus.OK, {"status": "alive"}


def ready(liveness: Liveness) -> Answer:
    """The answer of `/readyz`."""
    status = liveness.status
    reason = liveness.dead() or status.waits_for
    if reason is None and status.role == "leader":
        reason = _stopped_by() or liveness.stuck()
    if reason is not None:
        return HTTPStatus.SERVICE_UNAVAILABLE, {"role": status.role, "reason": reason}
    if status.epoch is None:
        return HTTPStatus.OK, {"role": status.role}
    return HTTPStatus.OK, {"role": status.role, "epoch": status.epoch}


def _stopped_by() -> str | None:
    """Why a leader with all its connections does not publish, or None."""
    if REGISTRY.get_sample_value("waybill_relay_publishing_held"):
        return "a required queue is missing; the log says which"
    if REGISTRY.get_sample_value("waybill_relay_broker_blocked"):
        return "the broker blocks publishing: it is short of memory or disk"
    return None


class _Handler(MetricsHandler):
    """`/metrics` comes from the library; requests are not logged."""

    timeout = REQUEST_SECONDS

    def __init__(self, liveness: Liveness, *args: Any) -> None:  # noqa: ANN401 - the arguments of socketserver
        self._probes: dict[str, Callable[[Liveness], Answer]] = {"/livez": live, "/readyz": ready}
        self._liveness = liveness
        super().__init__(*args)

    def do_GET(self) -> None:  # noqa: N802 - http.server names it
        """Answer one request."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            super().do_GET()
        elif path in self._probes:
            self._answer(*self._probes[path](self._liveness))
        else:
            self._answer(HTTPStatus.NOT_FOUND, {"reason": "there are /metrics, /livez and /readyz"})

    def _answer(self, status: HTTPStatus, body: dict[str, str | int]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class _Server(ThreadingHTTPServer):
    """Answers each request in its own thread."""

    handle_error = staticmethod(log_scrape_error)


class Probes:
    """The server as a context manager. `port` is the given port, or the system's choice for 0."""

    def __init__(self, liveness: Liveness, host: str, port: int) -> None:
        try:
            self._server = _Server((host, port), partial(_Handler, liveness))
        except OSError as error:
            raise ProbesError(f"cannot listen on {host}:{port} (RELAY_HTTP_HOST, RELAY_HTTP_PORT): {error}") from error
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(
            target=self._server.serve_forever, args=(STOP_POLL_SECONDS,), name="probes", daemon=True
        ).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
