"""A TCP proxy that a test can cut, make deaf (what the server answers is held back while requests still arrive), or
silence in both directions. Each connection stays open, and new ones are accepted, in either case.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit


class TcpProxy:
    """One listening socket before one server. All its methods may be called while bytes flow."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._answers = threading.Condition()
        self._budget: int | None = None
        self._deaf = False
        self._open = True
        self.held = threading.Event()
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def hold_answers(self, after_bytes: int = 0) -> None:
        """Keep back what the server says once `after_bytes` more have passed; `held` is set when something waits."""
        with self._answers:
            self._budget = after_bytes
            self.held.clear()

    def fall_silent(self) -> None:
        """Let nothing through any more, in neither direction, and close nothing."""
        with self._answers:
            self._deaf = True
        self.hold_answers()

    def release_answers(self) -> None:
        """Let everything through again, what was kept back first."""
        with self._answers:
            self._budget, self._deaf = None, False
            self._answers.notify_all()

    def cut(self) -> None:
        """End every connection at once; new ones are let through."""
        with self._answers:
            sockets, self._sockets = self._sockets, []
        for end in sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End everything and wait for it."""
        self._open = False
        self.release_answers()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in list(self._threads):
            thread.join(10)
        self.cut()

    def _start(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while self._open:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._server)
            except OSError:
                client.close()
                continue
            with self._answers:
                self._sockets += [client, server]
            self._start(self._serve, client, server)

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        answers = threading.Thread(target=self._pass_on, args=(server, client, True), daemon=True)
        answers.start()
        self._pass_on(client, server, False)
        answers.join()
        client.close()
        server.close()

    def _pass_on(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if answers:
                    data = self._within_budget(data, target)
                else:
                    self._until_heard()
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _until_heard(self) -> None:
        with self._answers:
            self._answers.wait_for(lambda: not self._deaf)

    def _within_budget(self, data: bytes, target: socket.socket) -> bytes:
        """Send what may pass, wait for the rest to be released, return it."""
        with self._answers:
            if self._budget is None:
                return data
            now, data = data[: self._budget], data[self._budget :]
            self._budget -= len(now)
        target.sendall(now)
        if data:
            with self._answers:
                self.held.set()
                self._answers.wait_for(lambda: self._budget is None)
        return data


@contextmanager
def proxied(url: str) -> Iterator[tuple[str, TcpProxy]]:
    """The same address through a proxy, and the proxy."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    proxy = TcpProxy(parts.hostname, parts.port)
    address = parts.netloc.rsplit("@", 1)[0] + f"@127.0.0.1:{proxy.port}"
    try:
        yield urlunsplit(parts._replace(netloc=address)), proxy
    finally:
        proxy.close()
