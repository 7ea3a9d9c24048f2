"""TCP proxies before servers: they cut connections, refuse them, hold answers back, or fall silent in both directions.

All proxies of a block share one thread with a loop of its own, so that a busy caller never slows the bytes down. The
methods of `Proxies` and `Proxy` are called from other threads; each returns when its effect has happened.

While answers are held back, or both directions are silent, each connection stays open and new ones are accepted.
"""

import asyncio
import math
import random
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

from lab.tcp_proxy.connection import Client, Gate, Refused, Tap

T = TypeVar("T")

DONE_SECONDS = 10.0  # for one call into the loop, however busy the loop is


def _untapped(data: bytes, _to_server: bool) -> bytes:
    return data


class Proxy:
    """The proxy before one server. `accepted` and `refused` count connections; `held` is set once bytes are held back.

    `new_tap` makes the tap of each connection, which is called in the proxies' thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, server: tuple[str, int], new_tap: Callable[[], Tap]) -> None:
        self._loop = loop
        self._server = server
        self._new_tap = new_tap
        self._gate = Gate()
        self._refusing = False
        self.held = self._gate.held
        self.accepted = self.refused = 0
        self.port = 0

    async def listen(self) -> None:
        """Take a free port on loopback."""
        self._listener = await self._loop.create_server(self._connection, "127.0.0.1", 0, backlog=200)
        self.port = self._listener.sockets[0].getsockname()[1]

    def _connection(self) -> asyncio.Protocol:
        if self._refusing:
            self.refused += 1
            return Refused()
        self.accepted += 1
        return Client(self._gate, self._new_tap(), self._server)

    def hold_answers(self, after_bytes: int = 0) -> None:
        """Hold the server's answers back once `after_bytes` more have passed; the programs' bytes still arrive."""
        self._in_loop(lambda: self._gate.hold(after_bytes))

    def fall_silent(self) -> None:
        """Hold everything back, in both directions."""
        self._in_loop(lambda: self._gate.hold(0, silent=True))

    def release_answers(self) -> int:
        """Pass on what was held back, and everything after it; returns in how many directions bytes were held."""
        return self._in_loop(self._gate.release)

    def cut(self, share: float = 1.0, seed: float = 0.0) -> int:
        """End a share of the connections, at least one if there is any, chosen by `seed`; returns how many.

        New connections are let through, unless the proxy refuses them.
        """
        return self._in_loop(lambda: self._cut(share, seed))

    def refuse(self) -> None:
        """End every connection, and close each new one at once."""

        def refuse() -> None:
            self._refusing = True
            self._cut(1.0, 0.0)

        self._in_loop(refuse)

    def accept(self) -> None:
        """Let new connections through again."""
        self._refusing = False

    def close(self) -> None:
        """Accept no more connections, and end every one there is."""

        def close() -> None:
            self._listener.close()
            for end in self._gate.ends:
                end.cut()

        self._in_loop(close)

    def _cut(self, share: float, seed: float) -> int:
        clients = self._gate.clients
        chosen = random.Random(seed).sample(clients, math.ceil(len(clients) * share))  # noqa: S311  # not secret
        for client in chosen:
            client.cut()
        return len(chosen)

    def _in_loop(self, work: Callable[[], T]) -> T:
        async def run() -> T:
            return work()

        return _on(self._loop, run())


class Proxies:
    """The proxies, one per server."""

    def __init__(self, loop: asyncio.AbstractEventLoop, new_tap: Callable[[], Tap]) -> None:
        self._loop = loop
        self._new_tap = new_tap
        self._by_server: dict[tuple[str, int], Proxy] = {}

    def through(self, url: str) -> str:
        """The same address through a proxy."""
        parts = urlsplit(url)
        credentials, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{credentials}{at}127.0.0.1:{self.to(url).port}"))

    def to(self, url: str) -> Proxy:
        """The proxy before the server of this address, made at the first call."""
        parts = urlsplit(url)
        assert parts.hostname, "an address of a server names its host"
        assert parts.port, "and its port"
        server = (parts.hostname, parts.port)
        if server not in self._by_server:
            proxy = Proxy(self._loop, server, self._new_tap)
            _on(self._loop, proxy.listen())
            self._by_server[server] = proxy
        return self._by_server[server]

    def release_answers(self) -> None:
        """Release the answers that any proxy holds back."""
        for proxy in self._by_server.values():
            proxy.release_answers()

    def close(self) -> None:
        """Close every proxy."""
        for proxy in self._by_server.values():
            proxy.close()


@contextmanager
def proxies(new_tap: Callable[[], Tap] = lambda: _untapped) -> Iterator[Proxies]:
    """Proxies for the time of the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="proxies", daemon=True)
    thread.start()
    made = Proxies(loop, new_tap)
    try:
        yield made
    finally:
        made.close()
        _on(loop, _end_tasks())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(DONE_SECONDS)
        loop.close()


@contextmanager
def proxied(url: str, new_tap: Callable[[], Tap] = lambda: _untapped) -> Iterator[tuple[str, Proxy]]:
    """The same address through a proxy, and the proxy, for the time of the block."""
    with proxies(new_tap) as made:
        yield made.through(url), made.to(url)


async def _end_tasks() -> None:
    await asyncio.sleep(0)  # the turn of the loop in which cut connections are noticed
    rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


def _on(loop: asyncio.AbstractEventLoop, work: Coroutine[None, None, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, loop).result(DONE_SECONDS)
