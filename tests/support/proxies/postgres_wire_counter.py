"""Counts what really goes over the wire to Postgres: a proxy that reads the types of the client's messages.

Source: PostgreSQL documentation, "Message Formats". After the start-up message each message is a type byte and a
length; `E` executes a prepared statement and `Q` is a simple query, so a BEGIN of a driver's own is seen too. Hints
go over a connection of their own, which is not counted.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

_STARTUP = 196_608  # protocol 3.0; what comes before it are requests for encryption
_HINTS = b"application_name\0waybill-hint\0"


@dataclass
class StatementCounter:
    """`url` leads through the proxy; `sent` counts the client's messages by type."""

    url: str = ""
    sent: Counter[bytes] = field(default_factory=Counter)

    @property
    def statements(self) -> int:
        """Statements executed since `sent` was last cleared."""
        return self.sent[b"E"] + self.sent[b"Q"]


@asynccontextmanager
async def counted_statements(database_url: str) -> AsyncIterator[StatementCounter]:
    """The same database, behind a proxy that counts."""
    parts = urlsplit(database_url)
    counter = StatementCounter()
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        server_reader, server_writer = await asyncio.open_connection(parts.hostname, parts.port)
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            await asyncio.gather(_count(reader, server_writer, counter), _pass_on(server_reader, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    user = f"{parts.username}{':' + parts.password if parts.password else ''}@"
    counter.url = urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{port}"))
    try:
        yield counter
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections)


async def _count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counter: StatementCounter) -> None:
    started = counted = False
    try:
        while True:
            kind = await reader.readexactly(1) if started else b""
            length = await reader.readexactly(4)
            body = await reader.readexactly(int.from_bytes(length) - 4)
            if not started and int.from_bytes(body[:4]) == _STARTUP:
                started, counted = True, _HINTS not in body
            if counted:
                counter.sent[kind] += 1
            writer.write(kind + length + body)
            await writer.drain()
    finally:
        writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
