"""What the relay's loop says of itself, for the probes' thread to judge. Single attributes, written by the loop alone.

The loop leaves a stamp twice a second, and the session says where it stands. So a probe answers in truth when the loop
hangs, which is when nobody else would.
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
# A turn may read a whole backlog. A restart in the middle of that would begin it again, and never come to its end.
TURN_SECONDS = WINDOW_SECONDS + 60.0

# Far above what a loaded broker needs for a confirm, and what a refused event rests between two tries.
UNCONFIRMED_SECONDS = 60.0

Role = Literal["none", "standby", "leader"]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the session stands: its role, its epoch if it leads, and what it waits for before it can publish."""

    role: Role
    waits_for: str | None = None
    epoch: int | None = None
    turned_at: Callable[[], float] | None = None
    oldest_sent_at: Callable[[], datetime | None] | None = None


class Vitals:
    """One relay's signs of life. Times are `time.monotonic()`."""

    def __init__(self) -> None:
        self.beaten_at = time.monotonic()
        self.standing = Standing("none", "the relay is starting")

    async def beat(self) -> None:
        """Leave stamps until cancelled."""
        while True:
            self.beaten_at = time.monotonic()
            await asyncio.sleep(BEAT_SECONDS)

    def dead(self) -> str | None:
        """Why this process does no work and will do none, or None: its loop or its carrier has ceased to turn."""
        now = time.monotonic()
        if (silent := now - self.beaten_at) > LOOP_SECONDS:
            return f"the event loop has not turned for {silent:.0f} s"
        turned_at = self.standing.turned_at
        if turned_at is not None and (silent := now - turned_at()) > TURN_SECONDS:
            return f"the carrier has not turned for {silent:.0f} s"
        return None

    def stuck(self) -> str | None:
        """What a leader waits for too long, or None: a confirm that does not come, or a refusal without end."""
        oldest = self.standing.oldest_sent_at
        sent_at = None if oldest is None else oldest()
        waited = 0.0 if sent_at is None else (datetime.now(UTC) - sent_at).total_seconds()
        return f"an event has waited {waited:.0f} s for its confirm" if waited > UNCONFIRMED_SECONDS else None
