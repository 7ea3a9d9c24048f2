"""The receiver at TRACING_OTLP_URL in a test: it takes OTLP over HTTP as collectors do, and keeps each span."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.deadlines import ANSWER_SECONDS


@dataclass(frozen=True)
class Received:
    """One span as it came over the wire."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str


class Receiver:
    """`url` is a value of the setting."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.spans: list[Received] = []

    def take(self, path: str, body: bytes) -> int:
        """Take one request; returns the status of its answer."""
        if path != "/v1/traces":
            return 404
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        for resource in request.resource_spans:
            names = {one.key: one.value.string_value for one in resource.resource.attributes}
            self.spans += [
                Received(
                    names["service.name"], span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
                )
                for scope in resource.scope_spans
                for span in scope.spans
            ]
        return 200

    def wait_for(self, *wanted: tuple[str, str]) -> list[Received]:
        """The first span of each of these services and names, once all have come."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            found = {(span.service, span.name): span for span in reversed(tuple(self.spans))}
            if found.keys() >= set(wanted):
                return [found[one] for one in wanted]
            assert time.monotonic() < deadline, f"{sorted(set(wanted) - found.keys())} did not come"
            time.sleep(0.02)


@contextmanager
def otlp_receiver() -> Iterator[Receiver]:
    """A receiver on a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status = receiver.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
