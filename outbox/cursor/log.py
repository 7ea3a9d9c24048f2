"""The cursor's log: one row for each confirmed page. The newest is the cursor.

Rows are written by the leader alone: with another epoch in force nothing is written. Several pages that were
confirmed meanwhile go in one statement, so that a slow commit costs one wait and not one for each page.

The lock on the lease's row is kept until the commit is on disk, however long that takes: it must hold back another's
acquisition and never the renewal. FOR KEY SHARE does both, the epoch being a key column (outbox/tables.py).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from asyncpg import Connection, Record

from outbox.cursor.reader import FencedError, Page

ADVANCE = """
INSERT INTO outbox.pages (epoch, old_snapshot, new_snapshot, first_id, last_id, events, sent_at, confirmed_at)
SELECT lease.epoch, old_snapshot, new_snapshot, first_id, last_id, events, sent_at, confirmed_at
FROM (SELECT epoch FROM outbox.leases WHERE name = 'relay' AND epoch = $1 FOR KEY SHARE) AS lease,
     unnest($2::pg_snapshot[], $3::pg_snapshot[], $4::bigint[], $5::bigint[], $6::integer[], $7::timestamptz[],
            $8::timestamptz[])
     WITH ORDINALITY AS carried (old_snapshot, new_snapshot, first_id, last_id, events, sent_at, confirmed_at, place)
ORDER BY place
RETURNING page"""

# The cursor as one row, for a statement that asks what it has passed. Ids up to the floor are confirmed, and pages up
# to `after_page` speak of another cluster. Without a page, the two snapshots are of before all transactions.
WITH_CURSOR = """
WITH adopted AS (SELECT floor_id, after_page FROM outbox.adoptions ORDER BY adoption DESC LIMIT 1),
newest AS (
  SELECT old_snapshot AS old, new_snapshot AS new, last_id FROM outbox.pages
  WHERE page > coalesce((SELECT after_page FROM adopted), 0) ORDER BY page DESC LIMIT 1),
cursor AS MATERIALIZED (
  SELECT coalesce((SELECT floor_id FROM adopted), 0) AS floor, coalesce(last_id, -1) AS last_id,
         coalesce(old, '1:1:') AS old, coalesce(new, '1:1:') AS new
  FROM (SELECT) AS one_row LEFT JOIN newest ON true)"""


class Carried(NamedTuple):
    """A page whose every event is confirmed or set aside, with the times of its first publish and its last confirm."""

    page: Page
    sent_at: datetime
    confirmed_at: datetime


async def advance(connection: "Connection[Record]", epoch: int, pages: Sequence[Carried]) -> int:
    """Move the cursor past pages, in this order; the number of the last.

    Raises FencedError, and moves nothing, when `epoch` is not in force any more.
    """
    written = await connection.fetch(
        ADVANCE,
        epoch,
        [page.window.old for page, _, _ in pages],
        [page.window.new for page, _, _ in pages],
        [page.rows[0].id for page, _, _ in pages],
        [page.rows[-1].id for page, _, _ in pages],
        [len(page.rows) for page, _, _ in pages],
        [sent_at for _, sent_at, _ in pages],
        [confirmed_at for _, _, confirmed_at in pages],
    )
    if not written:
        raise FencedError(f"epoch {epoch} is over")
    return int(written[-1]["page"])
