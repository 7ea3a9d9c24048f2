"""Liveness state of the relay: written by its event loop, read by the thread of `relay.health.endpoint`.

The loop writes a time stamp twice a second, and the session writes its status. Each is a single attribute with one
writer, so no lock is needed. A probe therefore answers correctly while the loop hangs.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from outbox.cursor.reader import WINDOW_SECONDS

BEAT_SECONDS = 0.5
LOOP_SECONDS = 5.0
# A turn may read a whole backlog. A restart in the middle would start it again and might never finish it.
TURN_SECONDS = WINDOW_SECONDS + 60.0

# Far above the time of a confirm under load, and above the pause before a refused event is published again.
UNCONFIRMED_SECONDS = 60.0

Role = Literal["none", "standby", "leader"]


@dataclass(frozen=True, slots=True)
class RelayStatus:
    """The session's role, its epoch if it leads, and what it waits for before it can publish."""

    role: Role
    waits_for: str | None = None
    epoch: int | None = None
    turned_at: Callable[[], float] | None = None
    oldest_sent_at: Callable[[], datetime | None] | None = None


class Liveness:
    """The liveness state of one relay. Times are `time.monotonic()`."""

    def __init__(self) -> None:
        self.beaten_at = time.monotonic()
        self.status = RelayStatus("none", "the relay is starting")

    async def beat(self) -> None:
        """Write time stamps until cancelled."""
        while True:
            self.beaten_at = time.monotonic()
            await asyncio.sleep(BEAT_SECONDS)

    def dead(self) -> str | None:
        """Why only a restart helps, or None: the event loop or the pipeline has stopped turning."""
        now = time.monotonic()
        if (silent := now - self.beaten_at) > LOOP_SECONDS:
            return f"the event loop has not turned for {silent:.0f} s"
        turned_at = self.status.turned_at
        if turned_at is not None and (silent := now - turned_at()) > TURN_SECONDS:
            return f"the pipeline has not turned for {silent:.0f} s"
        return None

    def stuck(self) -> str | None:
        """What a leader has waited for too long, or None: a confirm that does not come, or an endless refusal."""
        oldest = self.status.oldest_sent_at
        sent_at = None if oldest is None else oldest()
        waited = 0.0 if sent_at is None else (datetime.now(UTC) - sent_at).total_seconds()
        return f"an event has waited {waited:.0f} s for its confirm" if waited > UNCONFIRMED_SECONDS else None
