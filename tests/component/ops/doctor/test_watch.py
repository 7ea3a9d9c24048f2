"""The doctor reports open dead letters."""

import asyncpg

from ops.doctor.finding import Finding, Verdict
from ops.doctor.watch import open_dead_letters
from tests.support.builders.dead_letters import dead_letter_database, dead_letter_for


async def found(url: str) -> Finding:
    connection = await asyncpg.connect(url)
    try:
        (finding,) = await open_dead_letters(connection)
        return finding
    finally:
        await connection.close()


async def test_open_dead_letters_are_counted_and_a_database_without_any_is_good(shared_database_url: str) -> None:
    assert (await found(shared_database_url)).verdict is Verdict.GOOD

    async with dead_letter_database(shared_database_url) as database:
        await database.keep(dead_letter_for(), dead_letter_for())
        oldest = "(SELECT min(id) FROM outbox.dead_letters)"
        await database.sql(f"UPDATE outbox.dead_letters SET state = 'discarded' WHERE id = {oldest}")

    finding = await found(shared_database_url)
    assert finding.verdict is Verdict.WARNING
    assert finding.found == "1 open"
    assert "dead-letters" in finding.remedy
