"""Faults of SAP and the mail server: observed when the sandbox's own counter of the fault has risen."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from lab.prove.faults.garbage import MARK
from lab.prove.faults.plan import Planned
from lab.prove.system_under_test import SystemUnderTest

RATE = 0.35  # of the POSTs during the fault: enough that some meet it, and the rest succeeds
# Patterns of mail addresses, which begin with the customer's name: each matches a part of all customers.
PARTS = ("[a-f]*", "[g-l]*", "[m-r]*", "[s-z]*")
NO_MAILBOX = ("[a-c]*", "[d-f]*", "[g-i]*", "[j-l]*", "[m-o]*", "[p-s]*")

# $1 the mark of garbage, which is dead-lettered from that queue as well.
_DEAD_EMAILS = """
SELECT count(*) FROM outbox.dead_letters WHERE queue = 'email' AND position(convert_to($1, 'UTF8') IN body) = 0"""


async def sap_errors(system: SystemUnderTest, planned: Planned) -> str:
    """SAP answers a share of the POSTs with 500 or 503."""
    return await _sap(system, planned, "error", error_rate=RATE)


async def sap_timeouts(system: SystemUnderTest, planned: Planned) -> str:
    """SAP neither answers nor commits a share of the POSTs."""
    return await _sap(system, planned, "timeout", timeout_rate=RATE)


async def sap_lost_responses(system: SystemUnderTest, planned: Planned) -> str:
    """SAP commits, and the answer is lost: a second POST would book a second document."""
    return await _sap(system, planned, "lost", lost_rate=RATE)


async def sap_late_commits(system: SystemUnderTest, planned: Planned) -> str:
    """SAP loses the connection first and commits after that."""
    return await _sap(system, planned, "late", late_rate=RATE)


async def sap_outage(system: SystemUnderTest, planned: Planned) -> str:
    """SAP answers 503 to everything."""
    return await _sap(system, planned, "outage", outage=True)


async def smtp_refusing(system: SystemUnderTest, planned: Planned) -> str:
    """The mail server answers 451 for a part of the customers, for a while."""
    rule = {"pattern": PARTS[int(planned.pick * len(PARTS))], "code": 451}
    async with _refusing(system, rule):
        return await _await_rise(system, system.refused_emails, "refused_for_now", planned.seconds)


async def smtp_refusing_for_good(system: SystemUnderTest, planned: Planned) -> str:
    """The mail server answers 550 for a part of the customers, until an e-mail is dead-lettered."""
    dead = await _dead_emails(system)
    rule = {"pattern": NO_MAILBOX[int(planned.pick * len(NO_MAILBOX))], "code": 550}

    async def another() -> bool:
        return await _dead_emails(system) > dead

    async with _refusing(system, rule):
        note = await _await_rise(system, system.refused_emails, "refused_for_good", planned.seconds)
        await system.until_answered(another)
    return f"{note}, {await _dead_emails(system) - dead} e-mails dead-lettered"


async def _dead_emails(system: SystemUnderTest) -> int:
    return int((await system.patient_query(_DEAD_EMAILS, MARK))[0][0])


async def _sap(system: SystemUnderTest, planned: Planned, counter: str, **knobs: float) -> str:
    await system.set_sap_faults(**knobs)
    try:
        return await _await_rise(system, system.sap_faults, counter, planned.seconds)
    finally:
        await system.set_sap_faults(**dict.fromkeys(knobs, 0))


@asynccontextmanager
async def _refusing(system: SystemUnderTest, rule: Mapping[str, object]) -> AsyncIterator[None]:
    await system.refuse_emails(rule)
    try:
        yield
    finally:
        await system.refuse_emails()


async def _await_rise(
    system: SystemUnderTest, counts: Callable[[], Awaitable[Mapping[str, int]]], name: str, seconds: float
) -> str:
    """Return when a counter has risen and `seconds` have passed."""
    before = (await counts())[name]
    await asyncio.sleep(seconds)

    async def risen() -> int:
        return (await counts())[name] - before

    await system.until_answered(risen)
    return f"{await risen()} met the fault in {seconds:.1f} s or more"
