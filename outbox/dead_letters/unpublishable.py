"""The dead letter of an event that cannot be published. Called by `relay.pipeline`, so it uses asyncpg alone.

`outbox.dead_letters.store` has the table of states, and stores the dead letters that come from queues.
"""

import json

from asyncpg import Connection, Record

from outbox.cursor.reader import FencedError, Row
from outbox.dead_letter_reason import DeadLetterReason
from outbox.envelope import encode_headers

# The number of a group's dead letters since its last alert.
COUNT_FOR_ALERT = """
INSERT INTO outbox.dead_letter_alerts AS alert (queue, fingerprint, dead_letters, dead_letter_id)
SELECT queue, fingerprint, count(*), max(id) FROM dead_letters WHERE fresh GROUP BY queue, fingerprint
ORDER BY queue, fingerprint
ON CONFLICT (queue, fingerprint) DO UPDATE
SET dead_letters = alert.dead_letters + excluded.dead_letters, dead_letter_id = excluded.dead_letter_id"""

# Only by the leader, under the same lock as the cursor's writes (outbox/cursor/log.py). A relay that dies after this
# and before the cursor has advanced past the event finds the event again: the key makes it the same dead letter. A row
# that was inserted without a conflict has no xmax.
DEAD_LETTER_UNPUBLISHABLE = f"""
WITH dead_letters AS (
  INSERT INTO outbox.dead_letters AS dead_letter
    (dead_letter_key, queue, event_id, type, subject, generation, body, headers, reason, error_class, error,
     fingerprint, replay_count)
  SELECT $2, $3, $4, $5, $6, $7, $8, $9, '{DeadLetterReason.UNPUBLISHABLE}', 'Unpublishable', $10,
         'relay:unpublishable',
         coalesce((SELECT max(replay_count) FROM outbox.dead_letters WHERE event_id = $4 AND queue = $3), 0)
  FROM outbox.leases WHERE name = 'relay' AND epoch = $1 FOR KEY SHARE
  ON CONFLICT (dead_letter_key) DO UPDATE SET last_seen_at = clock_timestamp(), error = excluded.error
  RETURNING id, queue, fingerprint, xmax = 0 AS fresh),
counted AS ({COUNT_FOR_ALERT})
SELECT id FROM dead_letters"""  # noqa: S608 - a constant of ours


async def dead_letter_unpublishable(
    connection: "Connection[Record]", epoch: int, row: Row, queue: str, error: str
) -> int:
    """Dead-letter an event that cannot be published, in `queue`; the dead letter's id.

    `queue` is the event's destination, or the event exchange. Raises FencedError when `epoch` is over.
    """
    dead_letter = await connection.fetchval(
        DEAD_LETTER_UNPUBLISHABLE,
        epoch,
        f"{queue}/{row.event_id}/{row.generation}",
        queue,
        row.event_id,
        row.type,
        row.subject,
        row.generation,
        row.data,
        json.dumps(encode_headers(row.as_event())),
        error,
    )
    if dead_letter is None:
        raise FencedError(f"epoch {epoch} is over")
    return int(dead_letter)
