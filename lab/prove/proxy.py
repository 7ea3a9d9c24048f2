"""A way to the servers that can fail: TCP proxies whose connections can be cut and whose answers can be held back.

All proxies share one thread with a loop of its own, so that a busy caller never slows the bytes down. The methods of
`Proxies` and `Proxy` are for other threads; they return when the thing is done.
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

DONE_SECONDS = 10.0  # a turn of the loop, whatever else it has to do


class _End(asyncio.Protocol):
    """One end of a way through; what it hears goes to the other end, at the pace that the other end takes it."""

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
    """The end towards the server: what it hears are answers, which can be held back."""

    def data_received(self, data: bytes) -> None:
        if self.proxy.holding:
            self.proxy.held.append((self, data))
        else:
            super().data_received(data)


class _Client(_End):
    """The end towards a program: it finds its server and becomes one of the proxy's ways, for as long as it lives."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()
        self.proxy.ways.append(self)
        self.proxy.accepted += 1
        self.connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        assert self.transport is not None
        loop = asyncio.get_running_loop()
        try:
            _, self.other = await loop.create_connection(lambda: _Server(self.proxy, self), *self.proxy.server)
            self.transport.resume_reading()
        except OSError:
            self.transport.abort()  # nobody listens there: neither does the proxy, as far as it can

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.connecting.cancel()
        self.proxy.ways.remove(self)

    def cut(self) -> None:
        for end in (self, self.other):
            if end is not None and end.transport is not None:
                end.transport.abort()


class Proxy:
    """The way to one server. `ways`, `holding` and `held` belong to the loop; the rest may be read from anywhere."""

    def __init__(self, loop: asyncio.AbstractEventLoop, server: tuple[str, int]) -> None:
        self._loop = loop
        self.server = server
        self.port = 0
        self.accepted = 0
        self.holding = False
        self.ways: list[_Client] = []
        self.held: list[tuple[_End, bytes]] = []

    async def listen(self) -> None:
        """Take a free port on loopback."""
        self._listener = await self._loop.create_server(lambda: _Client(self), "127.0.0.1", 0, backlog=200)
        self.port = self._listener.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Let nobody in any more, and end every connection."""

        async def close() -> None:
            self._listener.close()

        _on(self._loop, close())
        self.cut()

    def cut(self, share: float = 1.0, seed: float = 0.0) -> int:
        """End a share of the connections, at least one, chosen by `seed`; how many there were to end."""

        async def cut() -> int:
            ways = list(self.ways)
            chosen = random.Random(seed).sample(ways, math.ceil(len(ways) * share))  # noqa: S311  # not secret
            for way in chosen:
                way.cut()
            return len(chosen)

        return _on(self._loop, cut())

    def hold(self) -> None:
        """Keep back what the server says, from now on; what programs say still arrives."""

        async def hold() -> None:
            self.holding = True

        _on(self._loop, hold())

    def release(self) -> int:
        """Pass on what was kept back, and everything after it; how many pieces there were."""

        async def release() -> int:
            self.holding = False
            held, self.held = self.held, []
            for end, data in held:
                _End.data_received(end, data)
            return len(held)

        return _on(self._loop, release())


class Proxies:
    """One proxy for each server that is asked for."""

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
        """Hold nothing back any more."""
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
    await asyncio.sleep(0)  # the turn in which cut connections are noticed
    rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


def _on(loop: asyncio.AbstractEventLoop, work: Coroutine[None, None, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, loop).result(DONE_SECONDS)
