"""`waybill` with a relay whose cursor passes each page before it is published. A proof must notice.

Whatever ends the session in between has the page lost: the next one starts behind it.
"""

import asyncio
from datetime import UTC, datetime

from ops.cli.main import main
from outbox.cursor.log import ConfirmedPage
from outbox.cursor.log import advance as write_pages
from relay.pipeline import Pipeline
from relay.publisher import PublisherLostError

# How long the cursor is ahead: nearly always while orders come in, also at the pace of a busy machine.
AHEAD_SECONDS = 2.0


async def publish_page(self: Pipeline) -> int:
    if self._publisher.lost.done():
        raise PublisherLostError(self._publisher.lost.result())
    page = await self._reader.next_page()
    if page is None:
        return 0
    now = datetime.now(UTC)
    await write_pages(self._cursor, self._epoch, [ConfirmedPage(page, now, now)])
    await asyncio.sleep(AHEAD_SECONDS)
    self._window.add_page(page, now)
    return len(page.rows)


async def advance(self: Pipeline) -> int:
    pages = self._window.complete_pages(until=self._checked_at)
    self._window.advanced_past(len(pages))
    return sum(len(page.page.rows) for page in pages)


if __name__ == "__main__":
    Pipeline.publish_page, Pipeline.advance = publish_page, advance  # type: ignore[method-assign]
    main()
