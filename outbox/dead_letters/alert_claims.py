"""Claims on groups of dead letters that are due for an alert: each group once in an interval, by one sender at a time.

A sender claims a group for a while and commits, sends the alert, and then marks it sent. If it dies in between, its
claim ends and another sender alerts: late rather than never, and twice only if it died after sending. Called by
`consumers.collector.alerts`.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# The group that has waited longest. SKIP LOCKED: another sender is claiming the first one.
_CLAIM = text("""
UPDATE outbox.dead_letter_alerts AS claimed
SET alerting_until = clock_timestamp() + make_interval(secs => :claim_seconds)
FROM (SELECT queue, fingerprint FROM outbox.dead_letter_alerts
      WHERE dead_letters > 0
        AND coalesce(alerted_at < clock_timestamp() - make_interval(secs => :interval_seconds), true)
        AND coalesce(alerting_until < clock_timestamp(), true)
      ORDER BY alerted_at NULLS FIRST, dead_letter_id LIMIT 1 FOR UPDATE SKIP LOCKED) AS due
WHERE (claimed.queue, claimed.fingerprint) = (due.queue, due.fingerprint)
RETURNING claimed.queue, claimed.fingerprint, claimed.dead_letters, claimed.dead_letter_id, claimed.alerting_until
""")

_SAMPLE = text("""
SELECT reason, error_class, error, replay_count FROM outbox.dead_letters WHERE id = :dead_letter_id
""")

# Dead letters that came meanwhile count for the next alert. By the claim alone: a late sender changes nothing.
_MARK_SENT = text("""
UPDATE outbox.dead_letter_alerts
SET alerted_at = clock_timestamp(), dead_letters = dead_letters - :dead_letters, alerting_until = NULL
WHERE queue = :queue AND fingerprint = :fingerprint AND alerting_until = :alerting_until
""")

_RELEASE = text("""
UPDATE outbox.dead_letter_alerts SET alerting_until = NULL
WHERE queue = :queue AND fingerprint = :fingerprint AND alerting_until = :alerting_until
""")


@dataclass(frozen=True, slots=True)
class Alert:
    """A claimed group. `dead_letters` counts the new ones since the last alert; `dead_letter_id` is the newest of them.

    `reason`, `error_class`, `error` and `replay_count` are those of the newest.
    """

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
    """Claim the next group that is due; None if none is. Commit before sending."""
    values = {"interval_seconds": interval_seconds, "claim_seconds": claim_seconds}
    row = (await tx.execute(_CLAIM, values)).one_or_none()
    if row is None:
        return None
    sample = (await tx.execute(_SAMPLE, {"dead_letter_id": row.dead_letter_id})).one()
    return Alert(*row, *sample)


async def mark_sent(tx: AsyncConnection, alert: Alert) -> None:
    """The alert was sent: the group's next one is an interval away."""
    await tx.execute(_MARK_SENT, {**_key(alert), "dead_letters": alert.dead_letters})


async def release(tx: AsyncConnection, alert: Alert) -> None:
    """The alert was not sent: the group is due at once, for any sender."""
    await tx.execute(_RELEASE, _key(alert))


def _key(alert: Alert) -> dict[str, object]:
    return {"queue": alert.queue, "fingerprint": alert.fingerprint, "alerting_until": alert.claimed_until}
