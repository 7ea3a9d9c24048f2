"""Checks of the relay, read from the tables: a frozen relay cannot report that it is frozen. Called by `checks`."""

import asyncpg

from ops.doctor.finding import Finding, Verdict, to_start
from outbox.cursor.backlog import backlog
from relay.leadership import read_lease

SLOW_SECONDS = 10.0  # a relay publishes within milliseconds, and takes over within one lease
ALERT_SECONDS = 60.0  # the threshold of the alert WaybillEventsUnpublished


async def relay(connection: asyncpg.Connection, *, local: bool) -> list[Finding]:
    """Findings on the leader and on the events that wait to be published."""
    try:
        return [await _leader(connection, local=local), await _waiting(connection)]
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return []  # the finding on migrations gives the cause


async def _leader(connection: asyncpg.Connection, *, local: bool) -> Finding:
    lease = await read_lease(connection)
    if lease is not None and lease.in_force:
        return Finding(Verdict.GOOD, "relay", f"{lease.holder} leads")
    if lease is None:
        found = "no relay leads, and none has ever led"
    elif lease.over_seconds is None:
        found = f"no relay leads: {lease.holder} has ended and handed over"
    else:
        found = f"no relay leads: the lease of {lease.holder} ran out {lease.over_seconds:.0f} s ago"
    remedy = f"{to_start('relay', local=local)}; if one runs, it is frozen or its /readyz gives the cause"
    return Finding(Verdict.BAD, "relay", found, remedy)


async def _waiting(connection: asyncpg.Connection) -> Finding:
    behind = await backlog(connection)
    if behind.oldest_seconds is None:
        return Finding(Verdict.GOOD, "outbox", "no event waits to be published")
    waiting = "1 event waits" if behind.events == 1 else f"{behind.events} events wait"
    found = f"{waiting} to be published, the oldest for {behind.oldest_seconds:.0f} s"
    if behind.oldest_seconds < SLOW_SECONDS:
        return Finding(Verdict.GOOD, "outbox", found)
    verdict = Verdict.WARNING if behind.oldest_seconds <= ALERT_SECONDS else Verdict.BAD
    return Finding(verdict, "outbox", found, "docs/runbook.md#events-are-not-published")
