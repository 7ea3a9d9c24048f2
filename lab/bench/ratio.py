"""Throughput: raw publishing and the relay in turns, same events, same queues; and the relay's cost for Postgres.

A round records its events while no relay runs. The relay is then a process of its own, as in production; its time goes
from the first page's `sent_at`, taken before its first event is published, to the last `confirmed_at`, the last confirm
of a page. The raw publisher's time goes from its first publish to the last confirm. So the start of neither counts, nor
the read of the first page, nor the relay's last write of the cursor, which follows its next check of the queues. The
first of the two changes every round, and the queues are emptied before each.

Write-ahead log is counted from before the relay's start until its cursor has advanced past the last event. Recording is
before that, with a checkpoint before it, so that no page is logged as a whole for a hint bit alone. Rows updated or
deleted are Postgres's own counts over all rounds, start and stop of the relay included.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from lab.bench import outbox
from lab.bench.ground import Ground
from lab.bench.messages import new_events, record_all
from lab.bench.plan import Plan
from lab.bench.processes import raw_publisher
from lab.bench.processes.programs import RELAY, running, until_confirmed
from outbox.envelope import Event
from runtime.database import make_engine
from runtime.settings import Settings

WARM_UP_EVENTS = 1_000
# The broker removes purged and confirmed messages in the background.
SETTLE_SECONDS = 0.3


@dataclass
class Rounds:
    """The measurements, each list in order of the rounds."""

    raw: list[float] = field(default_factory=list)
    relay: list[float] = field(default_factory=list)
    wal_bytes: list[float] = field(default_factory=list)


async def measure(ground: Ground, plan: Plan) -> dict[str, float]:
    """The figures of throughput and cost. Raises BenchError."""
    async with ground.database() as settings, outbox.connected(settings.database_url) as database:
        await _publish_raw(ground, settings, new_events(WARM_UP_EVENTS))
        rounds = Rounds()
        changed = await outbox.changed_rows(database)
        for number in range(plan.rounds):
            await _round(ground, settings, database, plan.events, rounds, raw_first=number % 2 == 0)
            print(f"  round {number + 1}: raw {rounds.raw[-1]:,.0f}/s, relay {rounds.relay[-1]:,.0f}/s", flush=True)
        changed = await outbox.changed_rows(database) - changed
    raw, relay = median(rounds.raw), median(rounds.relay)
    return {
        "raw_events_per_s": raw,
        "relay_events_per_s": relay,
        "ratio": relay / raw,
        "dead_tuples": changed / (plan.rounds * plan.events / 1000),
        "wal_bytes_per_event": median(rounds.wal_bytes),
    }


async def _round(
    ground: Ground, settings: Settings, database: outbox.Database, count: int, rounds: Rounds, *, raw_first: bool
) -> None:
    events = new_events(count)
    if raw_first:
        rounds.raw.append(await _publish_raw(ground, settings, events))
    after = await _record(settings, database, events)
    ground.empty_queues()  # and by the time the relay has started, the broker has settled as well
    wal = await outbox.wal_position(database)
    with running(ground, settings, RELAY) as relay:
        await until_confirmed(database, relay, await outbox.last_event(database))
        rounds.wal_bytes.append((await outbox.wal_position(database) - wal) / count)
    rounds.relay.append(count / await outbox.drain_seconds(database, after))
    if not raw_first:
        rounds.raw.append(await _publish_raw(ground, settings, events))


async def _publish_raw(ground: Ground, settings: Settings, events: Sequence[Event]) -> float:
    messages = [raw_publisher.message_of(event) for event in events]
    ground.empty_queues()
    await asyncio.sleep(SETTLE_SECONDS)
    seconds = await raw_publisher.publish_all(
        settings.amqp_url, settings.event_exchange, messages, settings.relay_window
    )
    return len(messages) / seconds


async def _record(settings: Settings, database: outbox.Database, events: Sequence[Event]) -> int:
    """Record a round's events; the highest id before them."""
    await outbox.checkpoint(database)
    after = await outbox.last_event(database)
    engine = make_engine(settings, "waybill-bench")
    try:
        await record_all(engine, events)
    finally:
        await engine.dispose()
    return after
