"""Messages that were given up, each under a key that makes it one letter however often it is found.

Today's writer is the relay: an event that the broker will not take, set aside so that the others go on.
"""

import json

from asyncpg import Connection, Record

from outbox.envelope import encode_headers
from outbox.reader import FencedError, Row

# By the leader alone, under the same lock as the cursor's writes (outbox/pages.py). A relay that dies after this and
# before the cursor has passed the event finds it again: the same letter.
SET_ASIDE = """
INSERT INTO outbox.dead_letters AS letter
  (letter_key, queue, event_id, type, subject, attempt, body, headers, reason, error_class, error, fingerprint)
SELECT $2, $3, $4, $5, $6, $7, $8, $9, 'unpublishable', 'Unpublishable', $10, 'relay:unpublishable'
FROM outbox.leases WHERE name = 'relay' AND epoch = $1 FOR KEY SHARE
ON CONFLICT (letter_key) DO UPDATE SET last_seen_at = clock_timestamp(), error = excluded.error
RETURNING id"""


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
