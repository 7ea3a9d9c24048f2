"""The cursor's log: one row for each confirmed page. The newest row is the cursor.

Only the leader writes rows: with another epoch in force nothing is written. All pages that were confirmed meanwhile go
in one statement, so that a slow commit costs one wait and not one for each page. Called by `relay.pipeline`.

The lock on the lease's row is held until the commit is on disk, however long that takes. It must delay another relay's
acquisition and never the leader's own renewal. FOR KEY SHARE does both, because the epoch is a key column
(outbox/tables.py).
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
     WITH ORDINALITY AS confirmed (old_snapshot, new_snapshot, first_id, last_id, events, sent_at, confirmed_at, place)
ORDER BY place
RETURNING page"""


class ConfirmedPage(NamedTuple):
    """A page whose every event is confirmed or dead-lettered, and the times of its first publish and last confirm."""

    page: Page
    sent_at: datetime
    confirmed_at: datetime


async def advance(connection: "Connection[Record]", epoch: int, pages: Sequence[ConfirmedPage]) -> int:
    """Advance the cursor past pages, in this order; the number of the last one.

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
