"""One seeded run: relays are killed again and again while writers do everything that writers may do."""

import asyncio
import random
import threading
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import asyncpg

from outbox.envelope import Event
from tests.support.builders.events import new_event
from tests.support.probes.database import Asyncpg
from tests.support.probes.relay_harness import RelayHarness, first_copies
from tests.support.processes.program import RunningProgram
from tests.support.processes.relay import relay

SEED = 20_260_301
KILLS = 8
LEASE_SECONDS = 0.6  # so that the dead are soon followed
WRITERS = 3
SUBJECTS = [f"order-{number}" for number in range(40)]
LOCK = "SELECT pg_advisory_xact_lock(hashtext($1))"
RECORD = """
INSERT INTO outbox.events (event_id, type, subject, source, time, data) VALUES ($1, $2, $3, $4, $5, $6)"""


class UndoneError(Exception):
    """The writer changes its mind."""


class Ledger:
    """What ought to arrive: each subject's events in the order of their commits, written under the subject's lock."""

    def __init__(self) -> None:
        self.committed: dict[str, list[str]] = defaultdict(list)
        self.undone: set[str] = set()

    def settle(self, kept: list[Event], undone: list[Event]) -> None:
        """Take down a transaction's end; the caller still holds its locks, or never committed."""
        for event in kept:
            self.committed[event.subject].append(str(event.id))
        self.undone |= {str(event.id) for event in undone}


async def write(url: str, rng: random.Random, ledger: Ledger, stopping: threading.Event) -> None:
    """Transactions, one after another, until they are stopped."""
    connection = await asyncpg.connect(url)
    try:
        while not stopping.is_set():
            kept: list[Event] = []
            undone: list[Event] = []
            try:
                async with connection.transaction():
                    await transact(connection, rng, kept, undone)
                    if rng.random() < 0.15:
                        raise UndoneError
                    ledger.settle(kept, undone)
            except UndoneError:
                ledger.settle([], kept + undone)
            await asyncio.sleep(rng.uniform(0, 0.03))
    finally:
        await connection.close()


async def transact(connection: Asyncpg, rng: random.Random, kept: list[Event], undone: list[Event]) -> None:
    """Some events of some subjects, some in savepoints, some of those rolled back, some committed late."""
    for subject in sorted(rng.sample(SUBJECTS, rng.randint(1, 3))):  # sorted: no deadlocks
        await connection.execute(LOCK, subject)
        savepoint_undone = rng.random() < 0.2
        events = [new_event(subject) for _ in range(rng.randint(1, 4))]
        try:
            async with connection.transaction():
                for event in events:
                    await connection.execute(
                        RECORD, event.id, event.type, event.subject, event.source, event.time, event.data
                    )
                if savepoint_undone:
                    raise UndoneError
        except UndoneError:
            undone += events
        else:
            kept += events
    if rng.random() < 0.15:
        await asyncio.sleep(rng.uniform(0.05, 0.3))  # meanwhile others take higher ids and commit first


def test_relays_killed_at_random_moments_skip_nothing_that_was_committed_and_carry_nothing_that_was_not(
    harness: RelayHarness, tmp_path: Path
) -> None:
    rng, ledger, stopping = random.Random(SEED), Ledger(), threading.Event()

    async def writers() -> None:
        await asyncio.gather(
            *(write(harness.database_url, random.Random(rng.random()), ledger, stopping) for _ in range(WRITERS))
        )

    work = threading.Thread(target=lambda: asyncio.run(writers()))
    with ExitStack() as stack:

        def another() -> RunningProgram:
            return stack.enter_context(
                relay(
                    harness.database_url,
                    harness.amqp_url,
                    tmp_path,
                    page_size=10,
                    window=40,
                    lease_seconds=LEASE_SECONDS,
                )
            )

        leading = another()
        work.start()
        try:
            for _ in range(KILLS):
                leading.wait_for("leading")
                standby = another()
                time.sleep(rng.uniform(0, 0.6))
                leading.kill()
                leading = standby
        finally:
            stopping.set()
            work.join(30)
        assert not work.is_alive()
        harness.wait_for_cursor(sum(map(len, ledger.committed.values())))
    messages = harness.take("validation")
    firsts = first_copies(messages)
    assert not ledger.undone & set(firsts)
    subject_of = {event_id: subject for subject, event_ids in ledger.committed.items() for event_id in event_ids}
    arrived: dict[str, list[str]] = {}
    for event_id in firsts:
        arrived.setdefault(subject_of[event_id], []).append(event_id)
    assert arrived == ledger.committed
