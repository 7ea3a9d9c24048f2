"""A network between a step and Postgres that a test can cut: at once, or right after a commit and before its answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """`url` leads through it. While it is cut, each new connection is closed at once and counted."""

    def __init__(self, database_url: str) -> None:
        self.url = ""
        self.lost_commits = 0
        self._server = urlsplit(database_url)
        self._cut = False
        self._lose_commit = False
        self._refused = asyncio.Condition()
        self._refusals = 0
        self._links: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """End every connection and let none come about."""
        self._cut = True
        for link in self._links:
            link.cancel()

    def restore(self) -> None:
        """Let new connections pass."""
        self._cut = False

    def lose_answer_to_next_commit(self) -> None:
        """Postgres gets the next COMMIT and executes it; its answer never arrives."""
        self._lose_commit = True

    async def refusals(self, count: int) -> None:
        """Return once `count` connections have been refused."""
        async with self._refused, asyncio.timeout(20):
            await self._refused.wait_for(lambda: self._refusals >= count)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side or the test ends it."""
        if self._cut:
            writer.close()
            async with self._refused:
                self._refusals += 1
                self._refused.notify_all()
            return
        link = asyncio.create_task(self._link(reader, writer))
        self._links.add(link)
        with suppress(asyncio.CancelledError):
            await link
        self._links.discard(link)

    async def close(self) -> None:
        """End every connection."""
        self.cut()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(self._server.hostname, self._server.port)
        commits: list[bool] = []
        pumps = [
            asyncio.create_task(self._forth(reader, server_writer, commits)),
            asyncio.create_task(self._back(server_reader, writer, commits)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            server_writer.close()
            writer.close()

    async def _forth(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, commits: list[bool]) -> None:
        while data := await reader.read(65_536):
            if self._lose_commit and b"COMMIT" in data:
                self._lose_commit = False
                commits.append(True)
            writer.write(data)
            await writer.drain()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, commits: list[bool]) -> None:
        while data := await reader.read(65_536):
            if commits:
                self.lost_commits += 1
                return
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def proxied(database_url: str) -> AsyncIterator[Proxy]:
    """The same database, behind a proxy."""
    proxy = Proxy(database_url)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    parts = urlsplit(database_url)
    user = f"{parts.username}{':' + parts.password if parts.password else ''}@"
    proxy.url = urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{port}"))
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()
