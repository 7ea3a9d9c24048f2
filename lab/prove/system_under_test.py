"""The running system as faults see it: pids, queries, the sandboxes' knobs, and the proxies before the servers.

Queries go to the servers directly and not through the proxies: a connection that is cut for the programs stays open
for the fault that observes them.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import psutil

from lab.stack.local import LocalStack
from lab.tcp_proxy.proxy import Proxies, Proxy
from runtime.database import is_unavailable

POLL_SECONDS = 0.1
HTTP_SECONDS = 5.0
QUERY_SECONDS = 10.0

_UNFINISHED = "SELECT count(*) FROM orders WHERE status NOT IN ('completed', 'rejected')"

# $1 the mark.
_DEAD_LETTERS = "SELECT count(*) FROM outbox.dead_letters WHERE position(convert_to($1, 'UTF8') IN body) > 0"

# Raised while a server is being killed: it refuses connections, closes them or does not answer.
AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, httpx.HTTPError)


class NotObserved(Exception):  # noqa: N818  # a result of a fault, not an error of the program
    """A fault was injected and its effect was not observed; the text names the effect."""


class SystemUnderTest:
    """One running stack with its proxies. `arrived` maps the id of each event that the recorder has to its subject."""

    def __init__(
        self, stack: LocalStack, proxies: Proxies, http: httpx.AsyncClient, arrived: Mapping[str, str]
    ) -> None:
        self.stack = stack
        self.proxies = proxies
        self.http = http
        self.arrived = arrived
        self.garbage: dict[str, int] = {}  # messages that were put into queues, by mark

    @classmethod
    @asynccontextmanager
    async def of(
        cls, stack: LocalStack, proxies: Proxies, arrived: Mapping[str, str]
    ) -> "AsyncIterator[SystemUnderTest]":
        """The system with an HTTP client, for the time of the block."""
        async with httpx.AsyncClient(timeout=HTTP_SECONDS, trust_env=False) as http:
            yield cls(stack, proxies, http, arrived)

    @property
    def postgres(self) -> Proxy:
        """The proxy between the programs and Postgres."""
        return self.proxies.to(self.stack.database_url)

    @property
    def rabbitmq(self) -> Proxy:
        """The proxy between the programs and RabbitMQ."""
        return self.proxies.to(self.stack.amqp_url)

    async def query(self, sql: str, *values: object) -> list[asyncpg.Record]:
        """The rows of a query, on a connection of its own; raises one of AWAY while Postgres does not answer."""
        connection = await asyncpg.connect(self.stack.database_url, timeout=QUERY_SECONDS)
        try:
            return list(await connection.fetch(sql, *values, timeout=QUERY_SECONDS))
        finally:
            await connection.close(timeout=QUERY_SECONDS)

    async def patient_query(self, sql: str, *values: object) -> list[asyncpg.Record]:
        """The rows of a query; asks again until Postgres answers."""
        while True:
            try:
                return await self.query(sql, *values)
            except AWAY as error:
                _raise_unless_away(error)
            await asyncio.sleep(POLL_SECONDS)

    async def unfinished(self) -> int:
        """Accepted orders that are neither completed nor rejected."""
        return int((await self.patient_query(_UNFINISHED))[0][0])

    async def dead_letters(self, mark: str) -> int:
        """Dead letters, in any state, with a mark in their body."""
        return int((await self.patient_query(_DEAD_LETTERS, mark))[0][0])

    # Programs.

    def has(self, program: str) -> bool:
        """Whether this system has a program of that name."""
        return any(state.name == program for state in self.stack.states())

    async def pid(self, program: str) -> int:
        """The pid of a program (`apps:api`), as soon as it runs."""
        while True:
            if pid := await asyncio.to_thread(self.stack.supervisor.pid_alive, program):
                return pid
            await asyncio.sleep(POLL_SECONDS)

    async def children(self, program: str) -> dict[int, psutil.Process]:
        """The child processes of a program, by pid."""
        try:
            return {child.pid: child for child in psutil.Process(await self.pid(program)).children()}
        except psutil.Error:
            return {}

    async def reaches_broker(self, program: str) -> bool:
        """Whether a program's main process has a connection to RabbitMQ's proxy."""
        try:
            connections = psutil.Process(await self.pid(program)).net_connections("tcp4")
        except psutil.Error:
            return False
        return any(
            one.raddr and one.raddr.port == self.rabbitmq.port and one.status == psutil.CONN_ESTABLISHED
            for one in connections
        )

    async def end(self, pid: int, number: signal.Signals) -> None:
        """Send a signal and return when the process has gone."""
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            raise NotObserved(f"process {pid} had ended before") from None
        await self.until(lambda: _gone(pid))

    # The sandboxes.

    async def sap_faults(self) -> Mapping[str, int]:
        """How often SAP has failed on purpose, by fault, and `outage` answers."""
        ledger = await self.get(f"{self.stack.sap_url}/sandbox/counts")
        return {**ledger["faults"], "outage": ledger["outage_answers"]}

    async def set_sap_faults(self, **knobs: object) -> None:
        """Set knobs of the SAP sandbox."""
        (await self.http.put(f"{self.stack.sap_url}/sandbox/faults", json=knobs)).raise_for_status()

    async def refused_emails(self) -> Mapping[str, int]:
        """How often a recipient was refused, for now and for good."""
        counts: dict[str, int] = await self.get(f"{self.stack.mail_url}/counts")
        return counts

    async def refuse_emails(self, *rules: Mapping[str, object]) -> None:
        """Replace the mail sandbox's refusals."""
        (await self.http.put(f"{self.stack.mail_url}/refusals", json=list(rules))).raise_for_status()

    async def get(self, url: str) -> Any:  # noqa: ANN401  # JSON
        """The JSON of a page. Raises one of AWAY."""
        return (await self.http.get(url)).raise_for_status().json()

    # Waiting for an effect; the caller bounds the time.

    async def until(self, observed: Callable[[], bool]) -> None:
        """Return once `observed` returns true; it must not block."""

        async def ask() -> bool:
            return observed()

        await self.until_answered(ask)

    async def until_answered(self, question: Callable[[], Awaitable[object]]) -> None:
        """Return once `question` is answered with a true value; a server that is away counts as no."""
        while True:
            try:
                if await question():
                    return
            except AWAY as error:
                _raise_unless_away(error)
            await asyncio.sleep(POLL_SECONDS)


def _raise_unless_away(error: Exception) -> None:
    """Raise an error that is a mistake of ours: repeating the question would never end."""
    if isinstance(error, asyncpg.PostgresError) and not is_unavailable(error):
        raise error


def _gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def pick_one(among: Sequence[int], pick: float) -> int:
    """The one of several that `pick`, from 0 to 1, stands for. Raises NotObserved when there is none."""
    if not among:
        raise NotObserved("there was no process to kill")
    return among[int(pick * len(among))]
