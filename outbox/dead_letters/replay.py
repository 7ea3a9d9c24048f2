"""An operator's actions on dead letters: replay, discard, restore.

A replay is one transaction. It marks the dead letter, writes down the operator and the reason, and records the dead
letter's event under a generation that no copy ever had, addressed to the queue it died in. That queue's inbox row, if
there is one, expects the new generation from then on: older copies are stale, and the replay has its full number of
attempts. An effect that is done is not repeated: the replay is then acknowledged as a duplicate.

A dead letter that cannot be sent again stays as it is, with the reason. Each call works on one batch, from `after` on,
and locks dead letters in order of their position. So two operators who replay at once record each dead letter once, and
a run that is cut off leaves whole batches behind. `replay_plan` decides, this module writes. Called by
`ops.dead_letters`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.dead_letters.queries import DeadLetter, Position, Selection, dead_letter_of
from outbox.dead_letters.replay_plan import (
    Pace,
    RefusedDeadLetter,
    Replayed,
    Sending,
    batch_of,
    decide,
    expiry_reason,
    is_expired,
)
from outbox.partitions.horizon import horizon
from outbox.record import record
from outbox.schedule import schedule

# Attempts are counted anew from the generation that is expected now.
_EXPECT = text("""
UPDATE outbox.deliveries d
SET state = 'retrying', generation = sent.generation, first_generation = sent.generation, claims = 0,
    lease_token = NULL, lease_until = NULL, due_at = coalesce(sent.due_at, clock_timestamp()), reason = NULL,
    changed_at = clock_timestamp()
FROM unnest(CAST(:consumers AS text[]), CAST(:event_ids AS uuid[]), CAST(:generations AS smallint[]),
            CAST(:due_ats AS timestamptz[])) AS sent (consumer, event_id, generation, due_at)
WHERE d.consumer = sent.consumer AND d.event_id = sent.event_id AND d.state <> 'done'
""")

_MARK = text("""
UPDATE outbox.dead_letters
SET state = :state, replay_count = replay_count + CASE WHEN :state = 'replayed' THEN 1 ELSE 0 END
WHERE id = ANY(CAST(:ids AS bigint[]))
""")

_WRITE_DOWN = text("""
INSERT INTO outbox.dead_letter_actions (dead_letter_id, action, actor, why, generation, due_at)
SELECT id, :action, :actor, :why, generation, due_at
FROM unnest(CAST(:ids AS bigint[]), CAST(:generations AS smallint[]), CAST(:due_ats AS timestamptz[]))
     WITH ORDINALITY AS acted (id, generation, due_at, place)
ORDER BY place
""")


@dataclass(frozen=True, slots=True)
class Act:
    """The operator who acts, and the reason."""

    actor: str
    why: str


@dataclass(frozen=True, slots=True)
class Changed:
    """One batch of dead letters discarded or restored; `last` as in Replayed."""

    dead_letters: tuple[DeadLetter, ...] = ()
    refused: tuple[RefusedDeadLetter, ...] = ()
    last: Position | None = None


async def plan(
    tx: AsyncConnection,
    selection: Selection,
    event_exchange: str,
    pace: Pace | None = None,
    after: Position | None = None,
) -> Replayed:
    """The replay of the next batch as it would be now. Locks and changes nothing."""
    rows = await batch_of(tx, selection, "open", after, lock=False)
    return await decide(tx, rows, event_exchange, pace, lock=False)


async def replay(
    tx: AsyncConnection,
    selection: Selection,
    act: Act,
    event_exchange: str,
    pace: Pace | None = None,
    after: Position | None = None,
) -> Replayed:
    """Send the next batch of a selection's open dead letters again, at most BATCH. The caller commits.

    Dead letters of `event_exchange`, and unrouted ones, go to the exchange. Raises NoSegmentError.
    """
    rows = await batch_of(tx, selection, "open", after, lock=True)
    batch = await decide(tx, rows, event_exchange, pace, lock=True)
    if batch.sendings:
        await _send(tx, batch.sendings)
        await tx.execute(_EXPECT, _expected(batch.sendings))
        await _mark(
            tx, "replayed", "replay", act, [(s.dead_letter, s.event.generation, s.due_at) for s in batch.sendings]
        )
    return batch


async def discard(tx: AsyncConnection, selection: Selection, act: Act, after: Position | None = None) -> Changed:
    """Discard the next batch of a selection's open dead letters. Raises ValueError without a reason."""
    if not act.why.strip():
        raise ValueError("discarding a dead letter needs a reason: its effect will not happen")
    dead_letters, refused = _in_state(await batch_of(tx, selection, "open", after, lock=True), "open")
    return await _change(tx, "discarded", "discard", act, dead_letters, refused)


async def restore(tx: AsyncConnection, selection: Selection, act: Act, after: Position | None = None) -> Changed:
    """Open the next batch of a selection's discarded dead letters again."""
    dead_letters, refused = _in_state(await batch_of(tx, selection, "discarded", after, lock=True), "discarded")
    lowest = await horizon(tx)
    too_old = [
        RefusedDeadLetter(one, expiry_reason(one.event_id)) for one in dead_letters if is_expired(one.event_id, lowest)
    ]
    kept = [one for one in dead_letters if not is_expired(one.event_id, lowest)]
    return await _change(tx, "open", "restore", act, kept, [*refused, *too_old])


def _in_state(rows: Iterable[RowMapping], state: str) -> tuple[list[DeadLetter], list[RefusedDeadLetter]]:
    dead_letters = [dead_letter_of(row) for row in rows]
    refused = [RefusedDeadLetter(one, f"it is {one.state}, not {state}") for one in dead_letters if one.state != state]
    return [one for one in dead_letters if one.state == state], refused


# Writing.


async def _send(tx: AsyncConnection, sendings: Sequence[Sending]) -> None:
    """Record events that go at once, in order; schedule the others."""
    for sending in sendings:
        if sending.due_at is not None:
            await schedule(tx, sending.event, sending.destination, sending.due_at)
    at_once = [sending for sending in sendings if sending.due_at is None]
    for destination, together in groupby(at_once, lambda sending: sending.destination):
        await record(tx, [sending.event for sending in together], destination)


def _expected(sendings: Sequence[Sending]) -> Mapping[str, object]:
    """One row for each consumer and event: the highest generation, if several dead letters are of one event."""
    last = {(sending.destination, sending.event.id): sending for sending in sendings if sending.destination}
    return {
        "consumers": [destination for destination, _ in last],
        "event_ids": [event_id for _, event_id in last],
        "generations": [sending.event.generation for sending in last.values()],
        "due_ats": [sending.due_at for sending in last.values()],
    }


async def _change(
    tx: AsyncConnection,
    state: str,
    action: str,
    act: Act,
    dead_letters: Sequence[DeadLetter],
    refused: Sequence[RefusedDeadLetter],
) -> Changed:
    positions = [one.position for one in dead_letters] + [one.dead_letter.position for one in refused]
    if dead_letters:
        await _mark(tx, state, action, act, [(dead_letter, None, None) for dead_letter in dead_letters])
    return Changed(tuple(dead_letters), tuple(refused), max(positions, default=None))


async def _mark(
    tx: AsyncConnection,
    state: str,
    action: str,
    act: Act,
    dead_letters: Sequence[tuple[DeadLetter, int | None, datetime | None]],
) -> None:
    """Put dead letters into their new state, and write down the action."""
    ids = [dead_letter.id for dead_letter, _, _ in dead_letters]
    await tx.execute(_MARK, {"ids": ids, "state": state})
    acted = {"action": action, "actor": act.actor, "why": act.why, "ids": ids}
    generations = {
        "generations": [generation for _, generation, _ in dead_letters],
        "due_ats": [due_at for _, _, due_at in dead_letters],
    }
    await tx.execute(_WRITE_DOWN, acted | generations)
