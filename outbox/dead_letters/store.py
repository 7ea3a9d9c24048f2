"""The store of dead letters: each message once, under a key, however often the broker delivers it.

| from      | to        | by                                                                                     |
|-----------|-----------|----------------------------------------------------------------------------------------|
| no row    | open      | `store`, called by the collector; `dead_letter_unpublishable`, called by the relay     |
| open      | replayed  | `replay.replay`: its event is recorded again under the next generation                 |
| open      | discarded | `replay.discard`                                                                       |
| discarded | open      | `replay.restore`                                                                       |

A late copy of a dead letter in any state moves `last_seen_at` and nothing else. An event that dies again after a replay
dies under a higher generation: it is a dead letter of its own, whose `replay_count` says how often its event was
replayed before. A new dead letter is counted for the alert of its group in the same transaction.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.dead_letter_reason import DeadLetterReason
from outbox.dead_letters.unpublishable import COUNT_FOR_ALERT

# Headers that change with each hop or delivery of one and the same dead message.
_CHANGING = frozenset({"x-death", "x-delivery-count", "x-acquired-count", "x-delivery-failures"})

# A late copy only touches the row of its key: it reopens nothing.
_STORE = text(f"""
WITH dead_letters AS (
  INSERT INTO outbox.dead_letters AS dead_letter
    (dead_letter_key, queue, consumer, event_id, type, subject, generation, body, headers, properties, died_at, reason,
     error_class, error, error_trace, fingerprint, replay_count)
  SELECT new.dead_letter_key, new.queue, new.consumer, new.event_id, new.type, new.subject, new.generation, new.body,
         CAST(new.headers AS jsonb), CAST(new.properties AS jsonb), new.died_at, new.reason, new.error_class, new.error,
         new.error_trace, new.fingerprint,
         coalesce((SELECT max(earlier.replay_count) FROM outbox.dead_letters earlier
                   WHERE earlier.event_id = new.event_id AND earlier.queue = new.queue), 0)
  FROM unnest(CAST(:keys AS text[]), CAST(:queues AS text[]), CAST(:consumers AS text[]), CAST(:event_ids AS uuid[]),
              CAST(:types AS text[]), CAST(:subjects AS text[]), CAST(:generations AS smallint[]),
              CAST(:bodies AS bytea[]), CAST(:headers AS text[]), CAST(:properties AS text[]),
              CAST(:died_ats AS timestamptz[]), CAST(:reasons AS text[]), CAST(:error_classes AS text[]),
              CAST(:errors AS text[]), CAST(:error_traces AS text[]), CAST(:fingerprints AS text[]))
       WITH ORDINALITY AS new (dead_letter_key, queue, consumer, event_id, type, subject, generation, body, headers,
                               properties, died_at, reason, error_class, error, error_trace, fingerprint, place)
  ORDER BY place
  ON CONFLICT (dead_letter_key) DO UPDATE SET last_seen_at = clock_timestamp()
  RETURNING id, dead_letter_key, queue, fingerprint, xmax = 0 AS fresh),
counted AS ({COUNT_FOR_ALERT})
SELECT dead_letter_key FROM dead_letters WHERE fresh
""")  # noqa: S608 - a constant of ours

# Why deliveries were dead-lettered: one row for each of these that its consumer dead-lettered.
_CAUSES = text("""
SELECT consumer, event_id, generation, reason, error_class, error, error_trace, fingerprint
FROM outbox.deliveries
JOIN unnest(CAST(:consumers AS text[]), CAST(:event_ids AS uuid[]), CAST(:generations AS smallint[]))
     AS wanted (consumer, event_id, generation) USING (consumer, event_id, generation)
WHERE state = 'dead'
""")


@dataclass(frozen=True, slots=True)
class Cause:
    """The inbox's account of a delivery that was dead-lettered."""

    reason: str | None
    error_class: str | None
    error: str | None
    error_trace: str | None
    fingerprint: str | None


DeliveryKey = tuple[str, UUID, int]  # consumer, event id, generation


@dataclass(frozen=True, slots=True)
class NewDeadLetter:
    """A dead message to be stored. `queue` is where it died.

    `headers` and `properties` are JSON of `outbox.dead_letters.amqp_json`. The fields of the event are those that could
    be read. `fingerprint` groups dead letters of one cause, so it names no message. `identity` replaces the headers in
    the key if they are unparsed and contain counters of deliveries.
    """

    queue: str
    body: bytes
    headers: Mapping[str, Any]
    reason: str
    fingerprint: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    consumer: str | None = None
    event_id: UUID | None = None
    type: str | None = None
    subject: str | None = None
    generation: int | None = None
    died_at: datetime | None = None
    error_class: str | None = None
    error: str | None = None
    error_trace: str | None = None
    identity: str | None = None

    @property
    def key(self) -> str:
        """`queue/event id/generation`, or `queue/` and a hash of the message and of its time of death.

        An unreadable message goes by its hash even if it has an id: a foreign message with the id of one of our events
        must not prevent that event's own dead letter.
        """
        if self.event_id is not None and self.reason != DeadLetterReason.UNDECODABLE:
            return f"{self.queue}/{self.event_id}/{self.generation}"
        named = {name: value for name, value in self.headers.items() if name not in _CHANGING}
        headers = named if self.identity is None else self.identity
        died_at = self.died_at and self.died_at.isoformat()
        digest = hashlib.sha256(self.body)
        digest.update(json.dumps([headers, self.properties, died_at], sort_keys=True).encode())
        return f"{self.queue}/{digest.hexdigest()}"


async def store(tx: AsyncConnection, dead_letters: Sequence[NewDeadLetter]) -> list[NewDeadLetter]:
    """Store dead letters, each once however often it comes; those that are new.

    Counts the new ones for the alert of their group, in the caller's transaction.
    """
    by_key = {dead_letter.key: dead_letter for dead_letter in dead_letters}  # one statement cannot touch a row twice
    rows = await tx.execute(_STORE, _columns(by_key))
    return [by_key[row.dead_letter_key] for row in rows]


async def causes(tx: AsyncConnection, deliveries: Sequence[DeliveryKey]) -> dict[DeliveryKey, Cause]:
    """Why deliveries were dead-lettered, for those that the inbox has a row of."""
    values = {
        "consumers": [consumer for consumer, _, _ in deliveries],
        "event_ids": [event_id for _, event_id, _ in deliveries],
        "generations": [generation for _, _, generation in deliveries],
    }
    return {
        (row.consumer, row.event_id, row.generation): Cause(
            row.reason, row.error_class, row.error, row.error_trace, row.fingerprint
        )
        for row in await tx.execute(_CAUSES, values)
    }


def _columns(by_key: Mapping[str, NewDeadLetter]) -> dict[str, object]:
    dead_letters = list(by_key.values())
    return {
        "keys": list(by_key),
        "queues": [dead_letter.queue for dead_letter in dead_letters],
        "consumers": [dead_letter.consumer for dead_letter in dead_letters],
        "event_ids": [dead_letter.event_id for dead_letter in dead_letters],
        "types": [dead_letter.type for dead_letter in dead_letters],
        "subjects": [dead_letter.subject for dead_letter in dead_letters],
        "generations": [dead_letter.generation for dead_letter in dead_letters],
        "bodies": [dead_letter.body for dead_letter in dead_letters],
        "headers": [json.dumps(dead_letter.headers) for dead_letter in dead_letters],
        "properties": [json.dumps(dead_letter.properties) for dead_letter in dead_letters],
        "died_ats": [dead_letter.died_at for dead_letter in dead_letters],
        "reasons": [dead_letter.reason for dead_letter in dead_letters],
        "error_classes": [dead_letter.error_class for dead_letter in dead_letters],
        "errors": [dead_letter.error for dead_letter in dead_letters],
        "error_traces": [dead_letter.error_trace for dead_letter in dead_letters],
        "fingerprints": [dead_letter.fingerprint for dead_letter in dead_letters],
    }
