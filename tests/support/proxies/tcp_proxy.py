"""The TCP proxy of the tests. A test cuts it, refuses connections, holds back answers, or silences both directions.

While answers are held back, or both directions are silent, each connection stays open and new ones are accepted. A
`Tap` reads and changes what passes: `postgres_proxy` and `postgres_wire_counter` are taps. Each connection has two
threads of its own, so the proxy works for synchronous tests and beside a running loop.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

# What a connection's bytes go through: the bytes, and whether they go to the server. Returns what is passed on, or None
# to end the connection.
Tap = Callable[[bytes, bool], bytes | None]


def _untapped(data: bytes, to_server: bool) -> bytes:
    return data


class TcpProxy:
    """One listening socket before one server. All its methods may be called while bytes flow.

    `tap` makes the tap of each connection. `refused` counts the connections that were closed at once.
    """

    def __init__(self, host: str, port: int, tap: Callable[[], Tap] = lambda: _untapped) -> None:
        self._tap = tap
        self._refusing = False
        self.refused = 0
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
        """End every connection at once; new ones are let through unless the proxy refuses them."""
        with self._answers:
            sockets, self._sockets = self._sockets, []
        for end in sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def refuse(self) -> None:
        """End every connection, and close each new one at once."""
        self._refusing = True
        self.cut()

    def accept(self) -> None:
        """Let new connections through again."""
        self._refusing = False

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
            if self._refusing:
                client.close()
                self.refused += 1
                continue
            try:
                server = socket.create_connection(self._server)
            except OSError:
                client.close()
                continue
            with self._answers:
                self._sockets += [client, server]
            if self._refusing:  # since it was accepted
                self.cut()
            self._start(self._serve, client, server)

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        tap = self._tap()
        answers = threading.Thread(target=self._pass_on, args=(server, client, tap, True), daemon=True)
        answers.start()
        self._pass_on(client, server, tap, False)
        answers.join()
        client.close()
        server.close()

    def _pass_on(self, source: socket.socket, target: socket.socket, tap: Tap, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                tapped = tap(data, not answers)
                if tapped is None:
                    break
                data = tapped
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
def proxied(url: str, tap: Callable[[], Tap] = lambda: _untapped) -> Iterator[tuple[str, TcpProxy]]:
    """The same address through a proxy, and the proxy."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    proxy = TcpProxy(parts.hostname, parts.port, tap)
    address = parts.netloc.rsplit("@", 1)[0] + f"@127.0.0.1:{proxy.port}"
    try:
        yield urlunsplit(parts._replace(netloc=address)), proxy
    finally:
        proxy.close()
