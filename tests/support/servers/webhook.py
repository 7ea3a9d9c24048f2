"""A webhook that takes what Slack takes. It keeps each request, and refuses or waits when a test sets it so."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Webhook:
    """`url` has a secret in it, as Slack's has. `texts` are the messages taken, `asked` counts all requests."""

    SECRET = "T0secret/B0secret"

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/services/{self.SECRET}"
        self.texts: list[str] = []
        self.asked = threading.Semaphore(0)
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.status = 200

    def take(self, body: bytes) -> int:
        """Take one request; returns the status of its answer."""
        self.asked.release()
        self.may_answer.wait(30)
        if self.status == 200:
            self.texts.append(json.loads(body)["text"])
        return self.status

    def wait_until_asked(self) -> None:
        """Return once another request has come."""
        assert self.asked.acquire(timeout=30), "nobody asked the webhook"


@contextmanager
def webhook() -> Iterator[Webhook]:
    """A webhook on a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status = taking.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    taking = Webhook(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield taking
    finally:
        taking.may_answer.set()
        server.shutdown()
        server.server_close()
        thread.join()
