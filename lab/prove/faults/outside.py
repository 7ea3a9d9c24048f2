"""SAP and the mail server at their worst: seen when their own counters of that fault have gone up."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from lab.prove.faults.garbage import MARK
from lab.prove.faults.plan import Planned
from lab.prove.system_under_test import SystemUnderTest

RATE = 0.35  # of the POSTs while it lasts: enough to be met, and the rest goes through
# Mail addresses begin with the customer's name: a few e-mails are a part of all customers.
PARTS = ("[a-f]*", "[g-l]*", "[m-r]*", "[s-z]*")
NO_MAILBOX = ("[a-c]*", "[d-f]*", "[g-i]*", "[j-l]*", "[m-o]*", "[p-s]*")

# $1 the mark of garbage, which dies there as well.
_DEAD_EMAILS = """
SELECT count(*) FROM outbox.dead_letters WHERE queue = 'email' AND position(convert_to($1, 'UTF8') IN body) = 0"""


async def sap_errors(system: SystemUnderTest, planned: Planned) -> str:
    """500 and 503."""
    return await _sap(system, planned, "error", error_rate=RATE)


async def sap_timeouts(system: SystemUnderTest, planned: Planned) -> str:
    """Calls that are never answered nor committed."""
    return await _sap(system, planned, "timeout", timeout_rate=RATE)


async def sap_lost_responses(system: SystemUnderTest, planned: Planned) -> str:
    """Committed, and the answer lost: a second POST would be a second document."""
    return await _sap(system, planned, "lost", lost_rate=RATE)


async def sap_late_commits(system: SystemUnderTest, planned: Planned) -> str:
    """Connection lost first, committed after that."""
    return await _sap(system, planned, "late", late_rate=RATE)


async def sap_outage(system: SystemUnderTest, planned: Planned) -> str:
    """503 to everything."""
    return await _sap(system, planned, "outage", outage=True)


async def smtp_refusing(system: SystemUnderTest, planned: Planned) -> str:
    """451 for a part of the customers, for a while."""
    rule = {"pattern": PARTS[int(planned.pick * len(PARTS))], "code": 451}
    async with _refusing(system, rule):
        return await _risen(system, system.refused_emails, "refused_for_now", planned.seconds)


async def smtp_refusing_for_good(system: SystemUnderTest, planned: Planned) -> str:
    """550 for a part of the customers, until an e-mail has died of it. The mailboxes are there again afterwards."""
    dead = await _dead_emails(system)
    rule = {"pattern": NO_MAILBOX[int(planned.pick * len(NO_MAILBOX))], "code": 550}

    async def another() -> bool:
        return await _dead_emails(system) > dead

    async with _refusing(system, rule):
        said = await _risen(system, system.refused_emails, "refused_for_good", planned.seconds)
        await system.until_answered(another)
    return f"{said}, {await _dead_emails(system) - dead} e-mails died of it"


async def _dead_emails(system: SystemUnderTest) -> int:
    return int((await system.patient_query(_DEAD_EMAILS, MARK))[0][0])


async def _sap(system: SystemUnderTest, planned: Planned, counter: str, **knobs: float) -> str:
    await system.turn_sap(**knobs)
    try:
        return await _risen(system, system.sap_faults, counter, planned.seconds)
    finally:
        await system.turn_sap(**dict.fromkeys(knobs, 0))


@asynccontextmanager
async def _refusing(system: SystemUnderTest, rule: Mapping[str, object]) -> AsyncIterator[None]:
    await system.refuse_emails(rule)
    try:
        yield
    finally:
        await system.refuse_emails()


async def _risen(
    system: SystemUnderTest, counts: Callable[[], Awaitable[Mapping[str, int]]], name: str, seconds: float
) -> str:
    """Return when a counter has risen and `seconds` have passed."""
    before = (await counts())[name]
    await asyncio.sleep(seconds)

    async def risen() -> int:
        return (await counts())[name] - before

    await system.until_answered(risen)
    return f"{await risen()} met it in {seconds:.1f} s or more"
