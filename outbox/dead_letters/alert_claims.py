"""Which groups of dead letters somebody is to be told of: each once in an interval, by one teller at a time.

A teller claims a group for a while and commits, tells, and then says that it has told. One that dies in between leaves
a claim that ends, and the group is told of again: later rather than never, and twice only if it died after telling.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# The group that has waited longest. SKIP LOCKED: another teller is at the first one.
_CLAIM = text("""
UPDATE outbox.dead_letter_alerts AS told
SET alerting_until = clock_timestamp() + make_interval(secs => :claim_seconds)
FROM (SELECT queue, fingerprint FROM outbox.dead_letter_alerts
      WHERE dead_letters > 0
        AND coalesce(alerted_at < clock_timestamp() - make_interval(secs => :interval_seconds), true)
        AND coalesce(alerting_until < clock_timestamp(), true)
      ORDER BY alerted_at NULLS FIRST, dead_letter_id LIMIT 1 FOR UPDATE SKIP LOCKED) AS due
WHERE (told.queue, told.fingerprint) = (due.queue, due.fingerprint)
RETURNING told.queue, told.fingerprint, told.dead_letters, told.dead_letter_id, told.alerting_until
""")

_SAMPLE = text("""
SELECT reason, error_class, error, replay_count FROM outbox.dead_letters WHERE id = :dead_letter_id
""")

# What came while it was told of counts for the next alert. By the claim alone: a late teller changes nothing.
_TOLD = text("""
UPDATE outbox.dead_letter_alerts SET alerted_at = clock_timestamp(), dead_letters = dead_letters - :dead_letters, alerting_until = NULL
WHERE queue = :queue AND fingerprint = :fingerprint AND alerting_until = :alerting_until
""")

_NOT_TOLD = text("""
UPDATE outbox.dead_letter_alerts SET alerting_until = NULL
WHERE queue = :queue AND fingerprint = :fingerprint AND alerting_until = :alerting_until
""")


@dataclass(frozen=True, slots=True)
class Alert:
    """A claimed group: `dead letters` are new since the last alert, `dead_letter_id` is the newest, the rest is that one's."""

    queue: str
    fingerprint: str
    dead_letters: int
    dead_letter_id: int
    claimed_until: datetime
    reason: str
    error_class: str | None
    error: str | None
    replay_count: int


async def claim(tx: AsyncConnection, interval_seconds: float, claim_seconds: float) -> Alert | None:
    """Claim the next group that is due; None if none is. Commit before telling."""
    values = {"interval_seconds": interval_seconds, "claim_seconds": claim_seconds}
    row = (await tx.execute(_CLAIM, values)).one_or_none()
    if row is None:
        return None
    sample = (await tx.execute(_SAMPLE, {"dead_letter_id": row.dead_letter_id})).one()
    return Alert(*row, *sample)


async def told(tx: AsyncConnection, alert: Alert) -> None:
    """Somebody was told: the next alert of the group is an interval away."""
    await tx.execute(_TOLD, {**_key(alert), "dead_letters": alert.dead_letters})


async def not_told(tx: AsyncConnection, alert: Alert) -> None:
    """Nobody was told: the group is due at once, to whoever asks."""
    await tx.execute(_NOT_TOLD, _key(alert))


def _key(alert: Alert) -> dict[str, object]:
    return {"queue": alert.queue, "fingerprint": alert.fingerprint, "alerting_until": alert.claimed_until}
