"""An HTTP server that takes orders as the API does, and loses or refuses those that a test names."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

from lab.workload.generator import generate


class Api(ThreadingHTTPServer):
    """Remembers orders by reference; the first answer to each reference in `lost` is cut off."""

    def __init__(self, lost: set[str], refused: set[str]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lost, self.refused = lost, refused
        self.placed: list[str] = []
        self.lock = Lock()


class Handler(BaseHTTPRequestHandler):
    server: Api
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        reference = json.loads(self.rfile.read(int(self.headers["content-length"])))["reference"]
        with self.server.lock:
            known = reference in self.server.placed
            if not known and reference not in self.server.refused:
                self.server.placed.append(reference)
            cut = reference in self.server.lost
            self.server.lost.discard(reference)
        if cut:
            self.close_connection = True
            return
        if reference in self.server.refused:
            self.answer(422, {"title": "quantity is wrong"})
        else:
            self.answer(409 if known else 202, {}, f"/orders/{reference}")

    def do_GET(self) -> None:
        self.answer(200, {"reference": self.path.rpartition("/")[2]})

    def answer(self, status: int, body: dict[str, Any], location: str | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        if location:
            self.send_header("location", location)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        pass


@contextmanager
def api(lost: set[str] | None = None, refused: set[str] | None = None) -> Iterator[tuple[Api, str]]:
    with Api(lost or set(), refused or set()) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


ORDERS = [one.order for one in generate(12).orders]
REFERENCES = [order.reference for order in ORDERS]
