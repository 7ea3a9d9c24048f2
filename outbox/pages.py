"""The cursor's log: one row for each confirmed page. The newest is the cursor.

Rows are written by the leader alone: with another epoch in force nothing is written. Several pages that were
confirmed meanwhile go in one statement, so that a slow commit costs one wait and not one for each page.
"""

from collections.abc import Sequence
from datetime import datetime

from asyncpg import Connection, Record

from outbox.reader import FencedError, Page

ADVANCE = """
INSERT INTO outbox.pages (epoch, old_snapshot, new_snapshot, first_id, last_id, events, sent_at)
SELECT lease.epoch, old_snapshot, new_snapshot, first_id, last_id, events, sent_at
FROM (SELECT epoch FROM outbox.leases WHERE name = 'relay' AND epoch = $1 FOR SHARE) AS lease,
     unnest($2::pg_snapshot[], $3::pg_snapshot[], $4::bigint[], $5::bigint[], $6::integer[], $7::timestamptz[])
     WITH ORDINALITY AS confirmed (old_snapshot, new_snapshot, first_id, last_id, events, sent_at, place)
ORDER BY place
RETURNING page"""


async def advance(connection: "Connection[Record]", epoch: int, pages: Sequence[tuple[Page, datetime]]) -> int:
    """Move the cursor past pages whose every event is confirmed, each with the time it was sent; the newest's number.

    Raises FencedError, and moves nothing, when `epoch` is not in force any more.
    """
    written = await connection.fetch(
        ADVANCE,
        epoch,
        [page.window.old for page, _ in pages],
        [page.window.new for page, _ in pages],
        [page.rows[0].id for page, _ in pages],
        [page.rows[-1].id for page, _ in pages],
        [len(page.rows) for page, _ in pages],
        [sent_at for _, sent_at in pages],
    )
    if not written:
        raise FencedError(f"epoch {epoch} is over")
    return int(written[-1]["page"])
