"""The doctor reports from the tables alone that no relay publishes events."""

from collections.abc import Sequence

import asyncpg

from ops.doctor.finding import Finding, Verdict
from ops.doctor.relay import relay

LEASE = """
INSERT INTO outbox.leases (name, epoch, holder, expires_at)
VALUES ('relay', 1, 'host:7:ab', clock_timestamp() + $1::interval)"""
# Not now(): what a transaction's own clock says is as old as the transaction.
EVENT = """
INSERT INTO outbox.events (event_id, type, subject, data, time, recorded_at, source, generation)
VALUES (gen_random_uuid(), 'order.placed', 'order-1', '{}', now(), clock_timestamp() - $1::interval, 'urn:test', 1)"""


async def findings(url: str, *statements: tuple[str, str]) -> list[Finding]:
    connection = await asyncpg.connect(url)
    try:
        for statement, value in statements:
            await connection.execute(statement.replace("$1::interval", f"interval '{value}'"))
        return await relay(connection, local=True)
    finally:
        await connection.close()


def verdicts(found: Sequence[Finding]) -> list[Verdict]:
    return [one.verdict for one in found]


async def test_a_leading_relay_and_an_empty_outbox_are_good(shared_database_url: str) -> None:
    leader, outbox = await findings(shared_database_url, (LEASE, "1 minute"))
    assert leader.found == "host:7:ab leads"
    assert verdicts([leader, outbox]) == [Verdict.GOOD, Verdict.GOOD]


async def test_a_lease_that_ran_out_is_bad_and_names_its_holder_and_the_way_to_restart_it(
    shared_database_url: str,
) -> None:
    leader, _ = await findings(shared_database_url, (LEASE, "-40 seconds"))
    assert leader.verdict is Verdict.BAD
    assert "the lease of host:7:ab ran out 40 s ago" in leader.found
    assert "`lab restart relay`" in leader.remedy


async def test_a_lease_that_was_handed_over_or_never_taken_is_bad(shared_database_url: str) -> None:
    assert (await findings(shared_database_url))[0].found == "no relay leads, and none has ever led"
    released = "UPDATE outbox.leases SET expires_at = '-infinity'"
    leader, _ = await findings(shared_database_url, (LEASE, "1 minute"), (released, ""))
    assert leader.verdict is Verdict.BAD
    assert "host:7:ab has ended and handed over" in leader.found


async def test_waiting_events_are_a_warning_and_past_the_alerts_threshold_bad(shared_database_url: str) -> None:
    assert (await findings(shared_database_url, (EVENT, "1 second")))[1].verdict is Verdict.GOOD
    assert (await findings(shared_database_url, (EVENT, "30 seconds")))[1].verdict is Verdict.WARNING
    outbox = (await findings(shared_database_url, (EVENT, "90 seconds")))[1]
    assert outbox.verdict is Verdict.BAD
    assert outbox.found == "3 events wait to be published, the oldest for 90 s"
    assert outbox.remedy
