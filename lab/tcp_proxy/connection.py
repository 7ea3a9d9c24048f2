"""One connection through a proxy. Everything here runs in the proxies' loop.

    program ── Client ─┐        ┌─ Server ── server
                       └─ Gate ─┘

Each end reads from its own side and writes to the other end, at the pace of the other end. The gate, one per proxy,
says how many bytes may pass. An end keeps the rest and reads no further, so the sender meets full buffers, as before a
server that hangs.
"""

import asyncio
import threading
from collections.abc import Callable

# One connection's bytes go through its tap; the second argument says whether they go to the server. It returns what is
# passed on, or None to end the connection.
Tap = Callable[[bytes, bool], bytes | None]


class Gate:
    """What may pass through one proxy, and the ends of its connections. `held` is set when an end keeps bytes."""

    def __init__(self) -> None:
        self._budget: int | None = None  # bytes of answers that still pass; None: all
        self._silent = False
        self.held = threading.Event()
        self.ends: list[End] = []

    @property
    def clients(self) -> list["End"]:
        """One end of each connection."""
        return [end for end in self.ends if end.to_server]

    def hold(self, after_bytes: int, *, silent: bool = False) -> None:
        """Pass `after_bytes` more of the answers; `silent` stops the programs' bytes as well."""
        self._budget, self._silent = after_bytes, silent
        self.held.clear()

    def release(self) -> int:
        """Pass everything, what was kept first; returns how many ends had kept bytes."""
        self._budget, self._silent = None, False
        return sum(end.release() for end in list(self.ends))

    def passing(self, size: int, *, to_server: bool) -> int:
        """How many of `size` bytes pass now."""
        if to_server:
            return 0 if self._silent else size
        if self._budget is None:
            return size
        passing = min(size, self._budget)
        self._budget -= passing
        return passing


class End(asyncio.Protocol):
    """One end of a proxied connection."""

    to_server: bool
    transport: asyncio.Transport

    def __init__(self, gate: Gate, tap: Tap) -> None:
        self.gate = gate
        self.tap = tap
        self.other: End | None = None
        self.kept = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio, as the methods below."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.gate.ends.append(self)

    def data_received(self, data: bytes) -> None:
        """Pass on what the tap and the gate let through."""
        tapped = self.tap(data, self.to_server)
        if tapped is None:
            self.cut()
            return
        passing = self.gate.passing(len(tapped), to_server=self.to_server)
        self.kept = tapped[passing:]
        if self.kept:
            self.transport.pause_reading()
            self.gate.held.set()
        self._pass_on(tapped[:passing])

    def _pass_on(self, data: bytes) -> None:
        if data and self.other is not None and not self.other.transport.is_closing():
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        """Stop reading at the other end: this one has enough to send."""
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again at the other end, unless it is held."""
        if self.other is not None and not self.other.kept:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """Close the other end once its bytes are sent."""
        self.gate.ends.remove(self)
        if self.other is not None:
            self.other.transport.close()

    def release(self) -> bool:
        """Pass on the bytes that were kept; returns whether there were any."""
        kept, self.kept = self.kept, b""
        if kept:
            self.transport.resume_reading()
            self._pass_on(kept)
        return bool(kept)

    def cut(self) -> None:
        """End the connection on both sides at once."""
        self.transport.abort()
        if self.other is not None:
            self.other.transport.abort()


class Client(End):
    """The end towards a program. It connects to the server, and reads nothing before that."""

    to_server = True

    def __init__(self, gate: Gate, tap: Tap, server: tuple[str, int]) -> None:
        super().__init__(gate, tap)
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to connect to the server."""
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        # asyncio of Python 3.11.2 starts to read after `connection_made`, even if that paused. A pause by `call_soon`
        # comes after that start and before the first read. uvloop has another order; the proxies do not use it.
        loop.call_soon(self.transport.pause_reading)
        self._connecting = loop.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: Server(self), *self._server)
            self.transport.resume_reading()
        except OSError:
            self.transport.abort()  # the server does not listen, and a proxy can refuse no connection

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop connecting as well."""
        super().connection_lost(exc)
        self._connecting.cancel()


class Server(End):
    """The end towards the server: its bytes are answers."""

    to_server = False

    def __init__(self, client: Client) -> None:
        super().__init__(client.gate, client.tap)
        self.other = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the client its other end."""
        super().connection_made(transport)
        assert self.other is not None
        self.other.other = self


class Refused(asyncio.Protocol):
    """A connection that is closed as soon as it is there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it."""
        transport.close()
