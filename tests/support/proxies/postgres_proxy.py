"""A network between a step and Postgres that a test cuts: at once, or right after a commit and before its answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lab.tcp_proxy import proxy as tcp_proxy
from lab.tcp_proxy.connection import Tap
from tests.support.deadlines import until


class PostgresProxy:
    """`url` leads through it. While it is cut, each new connection is closed at once and counted."""

    def __init__(self) -> None:
        self.url = ""
        self.lost_commits = 0
        self._lose_commit = False
        self.tcp: tcp_proxy.Proxy

    def cut(self) -> None:
        """End every connection and refuse new ones."""
        self.tcp.refuse()

    def restore(self) -> None:
        """Let new connections pass."""
        self.tcp.accept()

    def lose_answer_to_next_commit(self) -> None:
        """Let Postgres execute the next COMMIT, and end its connection before the answer."""
        self._lose_commit = True

    async def refusals(self, count: int) -> None:
        """Return once `count` connections have been refused."""
        await until(lambda: self.tcp.refused >= count, f"{count} refused connections")

    def tap(self) -> Tap:
        """The tap of one connection: it ends the connection at the answer to a COMMIT that is to be lost."""
        losing = False

        def passed_on(data: bytes, to_server: bool) -> bytes | None:
            nonlocal losing
            if to_server and self._lose_commit and b"COMMIT" in data:
                self._lose_commit, losing = False, True
            elif not to_server and losing:
                self.lost_commits += 1
                return None
            return data

        return passed_on


@asynccontextmanager
async def proxied(database_url: str) -> AsyncIterator[PostgresProxy]:
    """The same database, behind a proxy."""
    proxy = PostgresProxy()
    with tcp_proxy.proxied(database_url, proxy.tap) as (proxy.url, proxy.tcp):
        yield proxy
