"""A proxy that counts the statements on the wire to Postgres by the types of the client's messages.

Source: PostgreSQL documentation, "Message Formats". After the start-up message each message is a type byte and a
length; `E` executes a prepared statement and `Q` is a simple query, so a BEGIN of a driver's own is seen too. Hints
go over a connection of their own, which is not counted.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from lab.tcp_proxy.proxy import proxied

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
    counter = StatementCounter()
    with proxied(database_url, lambda: _Messages(counter).passed_on) as (counter.url, _):
        yield counter


class _Messages:
    """The client's messages on one connection, put together from what is read at a time."""

    def __init__(self, counter: StatementCounter) -> None:
        self._counter = counter
        self._unread = b""
        self._started = self._counted = False

    def passed_on(self, data: bytes, to_server: bool) -> bytes:
        """Count the messages that are whole, and pass everything on."""
        if to_server:
            self._unread += data
            while self._take():
                pass
        return data

    def _take(self) -> bool:
        """Count the first message if it is whole."""
        start = 1 if self._started else 0  # the start-up message has no type
        end = start + int.from_bytes(self._unread[start : start + 4])
        if len(self._unread) < max(end, start + 4):
            return False
        kind, body, self._unread = self._unread[:start], self._unread[start + 4 : end], self._unread[end:]
        if not self._started and int.from_bytes(body[:4]) == _STARTUP:
            self._started, self._counted = True, _HINTS not in body
        if self._counted:
            self._counter.sent[kind] += 1
        return True
