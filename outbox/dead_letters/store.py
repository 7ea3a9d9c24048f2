"""Messages that were given up, each under a key that makes it one letter however often it is found.

| from      | to        | when                                                                      |
|-----------|-----------|---------------------------------------------------------------------------|
| no row    | open      | `store`, by the collector; `set_aside`, by the relay for what nobody takes |
| open      | replayed  | `replay.replay`: its event is recorded again under the next try           |
| open      | discarded | `replay.discard`                                                          |
| discarded | open      | `replay.restore`                                                          |

A copy that comes late, of a letter in whatever state, moves `last_seen_at` and nothing else. An event that dies again
after a replay dies under a later try: it is a letter of its own, which says how often its event was replayed before.
A new letter is counted for the alert of its group in the same transaction.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from asyncpg import Connection, Record
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.cursor.reader import FencedError, Row
from outbox.envelope import encode_headers

# Headers that change with each hop or delivery of one and the same dead message.
_CHANGING = frozenset({"x-death", "x-delivery-count", "x-acquired-count", "x-delivery-failures"})

# How many new letters a group has that nobody was told of.
_COUNT_FOR_ALERT = """
INSERT INTO outbox.letter_alerts AS told (queue, fingerprint, letters, letter_id)
SELECT queue, fingerprint, count(*), max(id) FROM letters WHERE fresh GROUP BY queue, fingerprint
ORDER BY queue, fingerprint
ON CONFLICT (queue, fingerprint) DO UPDATE
SET letters = told.letters + excluded.letters, letter_id = excluded.letter_id"""

# By the leader alone, under the same lock as the cursor's writes (outbox/cursor/log.py). A relay that dies after this
# and before the cursor has passed the event finds it again: the same letter. A row that no conflict made has no xmax.
SET_ASIDE = f"""
WITH letters AS (
  INSERT INTO outbox.dead_letters AS letter
    (letter_key, queue, event_id, type, subject, attempt, body, headers, reason, error_class, error, fingerprint,
     replay_count)
  SELECT $2, $3, $4, $5, $6, $7, $8, $9, 'unpublishable', 'Unpublishable', $10, 'relay:unpublishable',
         coalesce((SELECT max(replay_count) FROM outbox.dead_letters WHERE event_id = $4 AND queue = $3), 0)
  FROM outbox.leases WHERE name = 'relay' AND epoch = $1 FOR KEY SHARE
  ON CONFLICT (letter_key) DO UPDATE SET last_seen_at = clock_timestamp(), error = excluded.error
  RETURNING id, queue, fingerprint, xmax = 0 AS fresh),
counted AS ({_COUNT_FOR_ALERT})
SELECT id FROM letters"""  # noqa: S608 - a constant of ours

# The row of a key that is there is touched and nothing more: a late copy reopens nothing.
_STORE = text(f"""
WITH letters AS (
  INSERT INTO outbox.dead_letters AS letter
    (letter_key, queue, consumer, event_id, type, subject, attempt, body, headers, properties, died_at, reason,
     error_class, error, error_trace, fingerprint, replay_count)
  SELECT new.letter_key, new.queue, new.consumer, new.event_id, new.type, new.subject, new.attempt, new.body,
         CAST(new.headers AS jsonb), CAST(new.properties AS jsonb), new.died_at, new.reason, new.error_class, new.error,
         new.error_trace, new.fingerprint,
         coalesce((SELECT max(earlier.replay_count) FROM outbox.dead_letters earlier
                   WHERE earlier.event_id = new.event_id AND earlier.queue = new.queue), 0)
  FROM unnest(CAST(:keys AS text[]), CAST(:queues AS text[]), CAST(:consumers AS text[]), CAST(:event_ids AS uuid[]),
              CAST(:types AS text[]), CAST(:subjects AS text[]), CAST(:attempts AS smallint[]),
              CAST(:bodies AS bytea[]), CAST(:headers AS text[]), CAST(:properties AS text[]),
              CAST(:died_ats AS timestamptz[]), CAST(:reasons AS text[]), CAST(:error_classes AS text[]),
              CAST(:errors AS text[]), CAST(:error_traces AS text[]), CAST(:fingerprints AS text[]))
       WITH ORDINALITY AS new (letter_key, queue, consumer, event_id, type, subject, attempt, body, headers, properties,
                               died_at, reason, error_class, error, error_trace, fingerprint, place)
  ORDER BY place
  ON CONFLICT (letter_key) DO UPDATE SET last_seen_at = clock_timestamp()
  RETURNING id, letter_key, queue, fingerprint, xmax = 0 AS fresh),
counted AS ({_COUNT_FOR_ALERT})
SELECT letter_key FROM letters WHERE fresh
""")  # noqa: S608 - a constant of ours

# Why deliveries were given up: one row for each of these (consumer, event id, try) that its consumer gave up.
_CAUSES = text("""
SELECT consumer, event_id, attempt, reason, error_class, error, error_trace, fingerprint
FROM outbox.deliveries
JOIN unnest(CAST(:consumers AS text[]), CAST(:event_ids AS uuid[]), CAST(:attempts AS smallint[]))
     AS wanted (consumer, event_id, attempt) USING (consumer, event_id, attempt)
WHERE state = 'dead'
""")


@dataclass(frozen=True, slots=True)
class Cause:
    """What the inbox knows of a delivery that was given up."""

    reason: str | None
    error_class: str | None
    error: str | None
    error_trace: str | None
    fingerprint: str | None


Delivery = tuple[str, UUID, int]  # consumer, event id, try


@dataclass(frozen=True, slots=True)
class NewLetter:
    """A dead message. `queue` is where it died.

    `headers` and `properties` are as `outbox.dead_letters.amqp_json` makes them.

    The fields of the event are those that could be read; `fingerprint` groups what died of one cause, so it names no
    message. `identity` stands for headers of which this module cannot tell what changes with each delivery.
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
    attempt: int | None = None
    died_at: datetime | None = None
    error_class: str | None = None
    error: str | None = None
    error_trace: str | None = None
    identity: str | None = None

    @property
    def key(self) -> str:
        """`queue/event id/try`, or `queue/` and a hash of the message and of when it died.

        What cannot be read goes by its hash even if it bears an id: a stranger's copy of an event's id must not stand
        in the way of that event's own letter.
        """
        if self.event_id is not None and self.reason != "undecodable":
            return f"{self.queue}/{self.event_id}/{self.attempt}"
        named = {name: value for name, value in self.headers.items() if name not in _CHANGING}
        headers = named if self.identity is None else self.identity
        died_at = self.died_at and self.died_at.isoformat()
        digest = hashlib.sha256(self.body)
        digest.update(json.dumps([headers, self.properties, died_at], sort_keys=True).encode())
        return f"{self.queue}/{digest.hexdigest()}"


async def store(tx: AsyncConnection, letters: Sequence[NewLetter]) -> list[NewLetter]:
    """Keep letters, each once however often it comes; those that are new.

    Counts the new ones for the alert of their group, in the caller's transaction.
    """
    by_key = {letter.key: letter for letter in letters}  # one statement cannot touch a row twice
    rows = await tx.execute(_STORE, _columns(by_key))
    return [by_key[row.letter_key] for row in rows]


async def causes(tx: AsyncConnection, deliveries: Sequence[Delivery]) -> dict[Delivery, Cause]:
    """Why deliveries were given up, for those of which the inbox knows it."""
    values = {
        "consumers": [consumer for consumer, _, _ in deliveries],
        "event_ids": [event_id for _, event_id, _ in deliveries],
        "attempts": [attempt for _, _, attempt in deliveries],
    }
    return {
        (row.consumer, row.event_id, row.attempt): Cause(
            row.reason, row.error_class, row.error, row.error_trace, row.fingerprint
        )
        for row in await tx.execute(_CAUSES, values)
    }


async def set_aside(connection: "Connection[Record]", epoch: int, row: Row, queue: str, error: str) -> int:
    """Keep an event that cannot be published as a dead letter of `queue`; the letter's number.

    `queue` is where the event was addressed, or the event exchange. Raises FencedError when `epoch` is over.
    """
    letter = await connection.fetchval(
        SET_ASIDE,
        epoch,
        f"{queue}/{row.event_id}/{row.attempt}",
        queue,
        row.event_id,
        row.type,
        row.subject,
        row.attempt,
        row.data,
        json.dumps(encode_headers(row.as_event())),
        error,
    )
    if letter is None:
        raise FencedError(f"epoch {epoch} is over")
    return int(letter)


def _columns(by_key: Mapping[str, NewLetter]) -> dict[str, object]:
    letters = list(by_key.values())
    return {
        "keys": list(by_key),
        "queues": [letter.queue for letter in letters],
        "consumers": [letter.consumer for letter in letters],
        "event_ids": [letter.event_id for letter in letters],
        "types": [letter.type for letter in letters],
        "subjects": [letter.subject for letter in letters],
        "attempts": [letter.attempt for letter in letters],
        "bodies": [letter.body for letter in letters],
        "headers": [json.dumps(letter.headers) for letter in letters],
        "properties": [json.dumps(letter.properties) for letter in letters],
        "died_ats": [letter.died_at for letter in letters],
        "reasons": [letter.reason for letter in letters],
        "error_classes": [letter.error_class for letter in letters],
        "errors": [letter.error for letter in letters],
        "error_traces": [letter.error_trace for letter in letters],
        "fingerprints": [letter.fingerprint for letter in letters],
    }
