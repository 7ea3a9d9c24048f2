"""TCP proxies before the servers: they cut connections and hold answers back.

    program ── _Client ─┐         ┌─ _Server ── server
                        └─ Proxy ─┘

All proxies share one thread with a loop of its own, so that a busy caller never slows the bytes down. The methods of
`Proxies` and `Proxy` are called from other threads; each returns when its effect has happened.
"""

import asyncio
import math
import random
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

T = TypeVar("T")

DONE_SECONDS = 10.0  # for one call into the loop, however busy the loop is


class _End(asyncio.Protocol):
    """One end of a proxied connection: hands its bytes to the other end, at the pace of the other end."""

    def __init__(self, proxy: "Proxy", other: "_End | None" = None) -> None:
        self.proxy = proxy
        self.other = other
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()


class _Server(_End):
    """The end towards the server: its bytes are answers, which the proxy can hold back."""

    def data_received(self, data: bytes) -> None:
        if self.proxy.holding:
            self.proxy.held.append((self, data))
        else:
            super().data_received(data)


class _Client(_End):
    """The end towards a program: connects to the server, and is in `Proxy.clients` as long as it lives."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()
        self.proxy.clients.append(self)
        self.proxy.accepted += 1
        self.connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        assert self.transport is not None
        loop = asyncio.get_running_loop()
        try:
            _, self.other = await loop.create_connection(lambda: _Server(self.proxy, self), *self.proxy.server)
            self.transport.resume_reading()
        except OSError:
            self.transport.abort()  # the server does not listen, and a proxy can refuse no connection

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.connecting.cancel()
        self.proxy.clients.remove(self)

    def cut(self) -> None:
        for end in (self, self.other):
            if end is not None and end.transport is not None:
                end.transport.abort()


class Proxy:
    """The proxy before one server. `clients`, `holding` and `held` belong to the loop; any thread may read the rest."""

    def __init__(self, loop: asyncio.AbstractEventLoop, server: tuple[str, int]) -> None:
        self._loop = loop
        self.server = server
        self.port = 0
        self.accepted = 0
        self.holding = False
        self.clients: list[_Client] = []
        self.held: list[tuple[_End, bytes]] = []

    async def listen(self) -> None:
        """Take a free port on loopback."""
        self._listener = await self._loop.create_server(lambda: _Client(self), "127.0.0.1", 0, backlog=200)
        self.port = self._listener.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Accept no more connections, and end every one there is."""

        async def close() -> None:
            self._listener.close()

        _on(self._loop, close())
        self.cut()

    def cut(self, share: float = 1.0, seed: float = 0.0) -> int:
        """End a share of the connections, at least one if there is any, chosen by `seed`; returns how many."""

        async def cut() -> int:
            clients = list(self.clients)
            chosen = random.Random(seed).sample(clients, math.ceil(len(clients) * share))  # noqa: S311  # not secret
            for client in chosen:
                client.cut()
            return len(chosen)

        return _on(self._loop, cut())

    def hold(self) -> None:
        """Hold the server's answers back from now on; the programs' bytes still arrive."""

        async def hold() -> None:
            self.holding = True

        _on(self._loop, hold())

    def release(self) -> int:
        """Pass on the answers held back, and everything after them; returns how many pieces were held."""

        async def release() -> int:
            self.holding = False
            held, self.held = self.held, []
            for end, data in held:
                _End.data_received(end, data)
            return len(held)

        return _on(self._loop, release())


class Proxies:
    """The proxies, one per server."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._by_server: dict[tuple[str, int], Proxy] = {}

    def through(self, url: str) -> str:
        """The same address through a proxy."""
        parts = urlsplit(url)
        credentials = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{credentials}@127.0.0.1:{self.to(url).port}"))

    def to(self, url: str) -> Proxy:
        """The proxy before the server of this address, made at the first call."""
        parts = urlsplit(url)
        assert parts.hostname, "an address of a server names its host"
        assert parts.port, "and its port"
        server = (parts.hostname, parts.port)
        if server not in self._by_server:
            proxy = Proxy(self._loop, server)
            _on(self._loop, proxy.listen())
            self._by_server[server] = proxy
        return self._by_server[server]

    def open(self) -> None:
        """Release the answers that any proxy holds back."""
        for proxy in self._by_server.values():
            proxy.release()

    def close(self) -> None:
        """Close every proxy."""
        for proxy in self._by_server.values():
            proxy.close()


@contextmanager
def proxies() -> Iterator[Proxies]:
    """Proxies for the time of the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="proxies", daemon=True)
    thread.start()
    made = Proxies(loop)
    try:
        yield made
    finally:
        made.close()
        _on(loop, _end_tasks())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(DONE_SECONDS)
        loop.close()


async def _end_tasks() -> None:
    await asyncio.sleep(0)  # the turn of the loop in which cut connections are noticed
    rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


def _on(loop: asyncio.AbstractEventLoop, work: Coroutine[None, None, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, loop).result(DONE_SECONDS)
