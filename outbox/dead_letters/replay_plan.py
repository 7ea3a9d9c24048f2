"""The plan of a replay: for each dead letter, where its event goes and under which generation, or why it stays.

Each batch is at most BATCH dead letters, oldest first. With `lock` the dead letters and their inbox rows are locked
until the caller's transaction ends, so that the decision stays true. Carried out by `replay`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import RowMapping, case, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.dead_letter_reason import DeadLetterReason
from outbox.dead_letters.amqp_json import from_json
from outbox.dead_letters.queries import FACTS, DeadLetter, Position, Selection, dead_letter_of
from outbox.envelope import MAX_DATA_BYTES, MAX_GENERATION, EnvelopeError, Event, decode, id_time
from outbox.partitions.horizon import horizon
from outbox.tables import dead_letters

BATCH = 500
# The times that the outbox can keep (outbox/tables.py).
_EARLIEST, _LATEST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)

# The inbox rows of the events to be sent. Locked, a worker that finishes one of them is waited for, or waits.
_DELIVERIES = """
SELECT d.consumer, d.event_id, d.state, d.generation,
       CASE WHEN d.lease_until > clock_timestamp() THEN d.lease_until END AS runs_until,
       CASE WHEN d.due_at > clock_timestamp() THEN d.due_at END AS not_before
FROM outbox.deliveries d
JOIN unnest(CAST(:consumers AS text[]), CAST(:event_ids AS uuid[])) AS wanted (consumer, event_id)
     USING (consumer, event_id)
ORDER BY d.consumer, d.event_id"""
_READ_DELIVERIES = text(_DELIVERIES)
_LOCK_DELIVERIES = text(f"{_DELIVERIES} FOR UPDATE OF d")

# A row for each delivery that has none, to be locked like the others: a copy of the dead letter that is still in the
# broker could claim its delivery between this check and the replay's commit, and both would run. The row is dead, in
# the dead letter's generation.
_GIVE_EACH_A_DELIVERY = text("""
INSERT INTO outbox.deliveries (consumer, event_id, subject, state, generation, first_generation, claims)
SELECT DISTINCT ON (consumer, event_id) consumer, event_id, subject, 'dead', generation, generation, 0
FROM outbox.dead_letters
WHERE id = ANY(CAST(:ids AS bigint[])) AND consumer IS NOT NULL
ORDER BY consumer, event_id, generation DESC
ON CONFLICT (consumer, event_id) DO NOTHING
""")


@dataclass(frozen=True, slots=True)
class Pace:
    """A throttle: dead letter n, counted from 0 over all batches, is sent `n / per_second` seconds after `start`."""

    start: datetime
    per_second: float
    sent: int = 0

    def due_at(self, number: int) -> datetime:
        """When dead letter `number` of this batch is sent."""
        return self.start + timedelta(seconds=(self.sent + number) / self.per_second)

    def after(self, sent: int) -> "Pace":
        """The pace of the next batch."""
        return replace(self, sent=self.sent + sent)


@dataclass(frozen=True, slots=True)
class Sending:
    """A dead letter that is sent again. `destination` None is the event exchange, `due_at` None is at once.

    `effect_done`: its consumer has finished the event already and will acknowledge it as a duplicate.
    """

    dead_letter: DeadLetter
    event: Event
    destination: str | None
    effect_done: bool
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RefusedDeadLetter:
    """A dead letter that stays as it is, and why."""

    dead_letter: DeadLetter
    why: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """One batch. `last` is its last position, from which the next one continues; None: no dead letter was left."""

    sendings: tuple[Sending, ...] = ()
    refused: tuple[RefusedDeadLetter, ...] = ()
    last: Position | None = None


@dataclass(frozen=True, slots=True)
class _Delivery:
    """An inbox row."""

    state: str
    generation: int
    runs_until: datetime | None = None
    not_before: datetime | None = None


async def batch_of(
    tx: AsyncConnection, selection: Selection, state: str, after: Position | None, *, lock: bool
) -> Sequence[RowMapping]:
    """The next batch, with headers, and with bodies that are within an event's limit.

    Dead letters named by their ids come in whatever state, so that one that is not in `state` is refused and not passed
    over.
    """
    wanted = replace(selection, state=None if selection.ids else state)
    limit = BATCH if selection.limit is None else min(BATCH, selection.limit)
    c = dead_letters.c
    body = case((func.octet_length(c.body) <= MAX_DATA_BYTES, c.body)).label("body")
    query = select(*FACTS, c.headers, body).where(wanted.where(after)).order_by(c.first_seen_at, c.id).limit(limit)
    return (await tx.execute(query.with_for_update() if lock else query)).mappings().all()


async def decide(
    tx: AsyncConnection, rows: Sequence[RowMapping], event_exchange: str, pace: Pace | None, *, lock: bool
) -> Replayed:
    """The decision on each dead letter, given its inbox row."""
    if not rows:
        return Replayed()
    lowest = await horizon(tx)
    read = [_read(row, event_exchange, lowest) for row in rows]
    known = await _known(tx, [sending for sending in read if isinstance(sending, Sending)], lock=lock)
    sendings: list[Sending] = []
    refused: list[RefusedDeadLetter] = []
    for one in read:
        decided = one if isinstance(one, RefusedDeadLetter) else _with_next_generation(one, known)
        if isinstance(decided, RefusedDeadLetter):
            refused.append(decided)
        else:
            paced = None if pace is None else pace.due_at(len(sendings))
            times = [moment for moment in (paced, decided.due_at) if moment is not None]
            sendings.append(replace(decided, due_at=max(times, default=None)))
    return Replayed(tuple(sendings), tuple(refused), dead_letter_of(rows[-1]).position)


def _read(row: RowMapping, event_exchange: str, lowest: UUID | None) -> Sending | RefusedDeadLetter:
    """A dead letter's event and its destination."""
    dead_letter = dead_letter_of(row)
    if dead_letter.state != "open":
        return RefusedDeadLetter(dead_letter, f"it is {dead_letter.state}, not open")
    try:
        event = _event(row)
    except (EnvelopeError, ValueError) as error:
        return RefusedDeadLetter(dead_letter, f"no consumer could read it: {error}")
    if is_expired(event.id, lowest):
        return RefusedDeadLetter(dead_letter, expiry_reason(event.id))
    to_exchange = dead_letter.reason == DeadLetterReason.UNROUTED or dead_letter.queue == event_exchange
    return Sending(dead_letter, event, None if to_exchange else dead_letter.queue, effect_done=False)


def _event(row: RowMapping) -> Event:
    """The event that a dead letter was. Raises EnvelopeError or ValueError."""
    if row["body"] is None:
        raise EnvelopeError(f"data is over the limit of {MAX_DATA_BYTES} bytes")
    event = decode(from_json(row["headers"]), bytes(row["body"]))
    for attribute in (event.type, event.subject, event.source, event.dataschema, event.traceparent):
        (attribute or "").encode()  # a lone surrogate, which Postgres does not take
    if not _EARLIEST <= event.time < _LATEST:
        raise EnvelopeError(f"time {event.time.isoformat()!r} is outside the range that the outbox can keep")
    return event


async def _known(
    tx: AsyncConnection, sendings: Sequence[Sending], *, lock: bool
) -> dict[tuple[str | None, UUID], _Delivery]:
    """The inbox rows, by consumer and event. An event for the exchange has many consumers and needs no row."""
    addressed = [sending for sending in sendings if sending.destination is not None]
    values = {
        "consumers": [sending.destination for sending in addressed],
        "event_ids": [sending.event.id for sending in addressed],
    }
    if lock:
        await tx.execute(_GIVE_EACH_A_DELIVERY, {"ids": [sending.dead_letter.id for sending in addressed]})
    return {
        (row.consumer, row.event_id): _Delivery(row.state, row.generation, row.runs_until, row.not_before)
        for row in await tx.execute(_LOCK_DELIVERIES if lock else _READ_DELIVERIES, values)
    }


def _with_next_generation(
    sending: Sending, known: dict[tuple[str | None, UUID], _Delivery]
) -> Sending | RefusedDeadLetter:
    """The sending under a generation that no copy had. Updates `known`, for another dead letter of the same event."""
    key = (sending.destination, sending.event.id)
    delivery = known.get(key, _Delivery("none", 0))
    if delivery.runs_until is not None:
        return RefusedDeadLetter(sending.dead_letter, f"it runs now; try again after {delivery.runs_until.isoformat()}")
    generation = max(sending.event.generation, delivery.generation) + 1
    if generation > MAX_GENERATION:
        return RefusedDeadLetter(sending.dead_letter, f"generation {generation - 1} is the highest that can be counted")
    known[key] = replace(delivery, generation=generation)
    event = replace(sending.event, generation=generation)
    return replace(sending, event=event, effect_done=delivery.state == "done", due_at=delivery.not_before)


def is_expired(event_id: UUID | None, lowest: UUID | None) -> bool:
    """Whether an event is older than the lowest id that the inbox takes."""
    return event_id is not None and lowest is not None and event_id < lowest


def expiry_reason(event_id: UUID | None) -> str:
    """Why a dead letter of an expired event stays."""
    made = "" if event_id is None else f" of {id_time(event_id).date()}"
    return f"its event{made} is older than the inbox keeps events: whether it was done already is unknown"
