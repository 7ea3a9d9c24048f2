"""NOTIFY to the relay after a commit, so that an idle relay publishes at once instead of at its next poll.

Sent outside every writing transaction, because NOTIFY takes a lock of the whole cluster at commit, and on a connection
of its own. Hints that are given while one is being sent become one more. A hint may be lost, because the relay polls as
well: a broken connection is logged and made again, and the writer never notices. Given by `api` after each order;
`relay.listen` receives it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
from asyncpg import Connection, Record

from runtime.logging import get_logger
from runtime.loops import Backoff, sleep_until

CHANNEL = "waybill_recorded"
APPLICATION_NAME = "waybill-hint"

NOTIFY = f"NOTIFY {CHANNEL}"

# Under load the relay polls without pause, so one hint in so many seconds is enough and the price does not grow.
GAP_SECONDS = 0.005
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
ANSWER_SECONDS = 5.0
CLOSE_SECONDS = 2.0

# The errors of a connection to a server that is down, starting, refusing or frozen.
_LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

log = get_logger(__name__)


class Hint:
    """The hints of one process. Connects at the first one; open, give and close it in one event loop."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._given = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._backoff = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)

    def open(self) -> None:
        """Start the sending task. Touches no server."""
        self._task = asyncio.create_task(self._keep_sending())

    def give(self) -> None:
        """Hint to the relay that a transaction was committed. Returns at once and never raises."""
        self._given.set()

    async def close(self) -> None:
        """Finish the hint that is being sent and disconnect, within 2 * CLOSE_SECONDS."""
        self._closing.set()
        self._given.set()
        if self._task is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._task, CLOSE_SECONDS)

    async def _keep_sending(self) -> None:
        while await self._wanted():
            try:
                async with self._connected() as connection:
                    await self._send(connection)
            except _LOST as error:
                pause = self._backoff.next()
                log.warning("hint_not_sent", error=f"{type(error).__name__}: {error}", retry_in_seconds=pause)
                self._given.set()
                await sleep_until(self._closing, pause)

    async def _send(self, connection: "Connection[Record]") -> None:
        """Send hints until closed."""
        while await self._wanted():
            self._given.clear()
            await connection.execute(NOTIFY)
            self._backoff.reset()
            await asyncio.sleep(GAP_SECONDS)

    async def _wanted(self) -> bool:
        """Wait for a hint; False when closing."""
        await self._given.wait()
        return not self._closing.is_set()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator["Connection[Record]"]:
        connection = await asyncpg.connect(
            self._database_url,
            timeout=ANSWER_SECONDS,
            command_timeout=ANSWER_SECONDS,
            server_settings={"application_name": APPLICATION_NAME, "synchronous_commit": "off"},
        )
        try:
            yield connection
        finally:
            with suppress(*_LOST):
                await connection.close(timeout=CLOSE_SECONDS)
