"""The inbox: one row per (consumer, event) decides whether a delivery runs, so that it has its effect once.

| from              | to       | when                                                                |
|-------------------|----------|---------------------------------------------------------------------|
| no row            | running  | `claim`: an outside effect begins under a lease                     |
| no row, retrying  | done     | `finish_at_once`: local effects, in this same transaction           |
| running           | done     | `finish`, by the lease's token                                      |
| running, no row   | retrying | `retry_later`: the next try is expected and scheduled               |
| running, retrying | dead     | `give_up`: the message is rejected                                  |
| retrying          | running  | `claim` of the expected try; a delivery of an earlier try is stale  |
| running           | running  | `claim` after the lease is over: begun and never finished, counted  |
| dead              | running  | `claim` of a higher try: a replay                                   |

A step with local effects only takes no lease: `finish_at_once` stands in the transaction of its effects, and a
concurrent duplicate waits on the row until that transaction ends. An outside effect is claimed first: the claim is
committed, its lease renewed, and only its token can finish it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.envelope import Event

MAX_BEGUN = 3  # claims begun and never finished before a delivery counts as a killer of workers


class LeaseLostError(Exception):
    """The claim is void: another worker runs the delivery, or it has ended. Nothing may be written for it."""


class Refusal(Enum):
    """Why a delivery does not run."""

    DUPLICATE = "duplicate"  # done already: acknowledge
    STALE = "stale"  # a later try is expected: acknowledge
    BUSY = "busy"  # another worker holds it: come back when its lease is over
    DEAD = "dead"  # given up already: reject again


@dataclass(frozen=True, slots=True)
class Refused:
    """A delivery that does not run. `until` is the end of the other worker's lease where there is one."""

    why: Refusal
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that runs. `token` is None for a step that takes no lease. `journal` is what an earlier try got."""

    consumer: str
    event: Event
    token: UUID | None = None
    begun: int = 1
    journal: Mapping[str, Any] | None = None

    @property
    def may_have_acted(self) -> bool:
        """Whether an earlier claim may have had its outside effect already."""
        return self.begun > 1 or self.event.attempt > 1


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as it is kept: class name, message, trace."""

    error_class: str
    message: str
    trace: str


# A claim may start: the first delivery, the try that is expected, a replay of what was given up.
_MAY_START = """(d.state = 'retrying' AND d.attempt = excluded.attempt)
             OR (d.state = 'dead' AND d.attempt < excluded.attempt)"""

_CLAIM = text(f"""
INSERT INTO outbox.deliveries AS d (consumer, event_id, subject, state, attempt, begun, lease_token, lease_until)
VALUES (:consumer, :event_id, :subject, 'running', :attempt, 1, :token,
        clock_timestamp() + make_interval(secs => :lease_seconds))
ON CONFLICT (consumer, event_id) DO UPDATE
SET state = 'running', attempt = excluded.attempt, lease_token = excluded.lease_token,
    lease_until = excluded.lease_until, due_at = NULL, changed_at = clock_timestamp(),
    begun = CASE WHEN d.state = 'running' THEN d.begun + 1 ELSE 1 END
WHERE {_MAY_START}
   OR (d.state = 'running' AND d.attempt = excluded.attempt AND d.lease_until < clock_timestamp())
RETURNING begun, journal
""")  # noqa: S608 - _MAY_START is a constant

_FINISH_AT_ONCE = text(f"""
INSERT INTO outbox.deliveries AS d (consumer, event_id, subject, state, attempt, begun)
VALUES (:consumer, :event_id, :subject, 'done', :attempt, 0)
ON CONFLICT (consumer, event_id) DO UPDATE
SET state = 'done', attempt = excluded.attempt, due_at = NULL, changed_at = clock_timestamp()
WHERE {_MAY_START}
RETURNING begun
""")  # noqa: S608 - _MAY_START is a constant

_LOOK = text("""
SELECT state, attempt, lease_until FROM outbox.deliveries WHERE consumer = :consumer AND event_id = :event_id
""")

_RENEW = text("""
UPDATE outbox.deliveries SET lease_until = clock_timestamp() + make_interval(secs => :lease_seconds)
WHERE consumer = :consumer AND event_id = :event_id AND lease_token = :token
""")

_FINISH = text("""
UPDATE outbox.deliveries
SET state = 'done', lease_token = NULL, lease_until = NULL, begun = 0, changed_at = clock_timestamp(),
    journal = CAST(:journal AS jsonb)
WHERE consumer = :consumer AND event_id = :event_id AND lease_token = :token
""")

# With a token: that claim's row. Without: the row that the failed transaction did not get to keep.
_END_OF_TRY = text("""
INSERT INTO outbox.deliveries AS d
       (consumer, event_id, subject, state, attempt, begun, due_at, error_class, error, error_trace)
VALUES (:consumer, :event_id, :subject, :state, :attempt, 0, :due_at, :error_class, :error, :error_trace)
ON CONFLICT (consumer, event_id) DO UPDATE
SET state = excluded.state, attempt = excluded.attempt, begun = 0, due_at = excluded.due_at,
    lease_token = NULL, lease_until = NULL, changed_at = clock_timestamp(),
    error_class = excluded.error_class, error = excluded.error, error_trace = excluded.error_trace,
    journal = coalesce(CAST(:journal AS jsonb), d.journal)
WHERE CASE WHEN CAST(:token AS uuid) IS NOT NULL THEN d.lease_token = :token
           ELSE (d.state = 'retrying' AND d.attempt = :failed) OR (d.state = 'dead' AND d.attempt < :failed) END
RETURNING consumer
""")


async def claim(tx: AsyncConnection, consumer: str, event: Event, lease_seconds: float) -> Claim | Refused:
    """Claim a delivery for `lease_seconds`, or learn why it does not run. Commit before acting on it."""
    token = uuid4()
    values = {**_key(consumer, event), **_try(event), "token": token, "lease_seconds": lease_seconds}
    row = (await tx.execute(_CLAIM, values)).one_or_none()
    if row is None:
        return await refusal(tx, consumer, event)
    return Claim(consumer, event, token, row.begun, row.journal)


async def finish_at_once(tx: AsyncConnection, consumer: str, event: Event) -> Claim | Refused:
    """Mark a delivery done in the transaction of its local effects, before them; or learn why it does not run."""
    row = (await tx.execute(_FINISH_AT_ONCE, {**_key(consumer, event), **_try(event)})).one_or_none()
    return Claim(consumer, event) if row is not None else await refusal(tx, consumer, event)


async def renew(tx: AsyncConnection, claim: Claim, lease_seconds: float) -> None:
    """Hold a claim for `lease_seconds` from now. Raises LeaseLostError."""
    values = {**_key(claim.consumer, claim.event), "token": claim.token, "lease_seconds": lease_seconds}
    if (await tx.execute(_RENEW, values)).rowcount != 1:
        raise LeaseLostError(_lost(claim))


async def finish(tx: AsyncConnection, claim: Claim, journal: Mapping[str, Any]) -> None:
    """Mark a claimed delivery done, in the transaction of its effects. Raises LeaseLostError: roll back then."""
    values = {**_key(claim.consumer, claim.event), "token": claim.token, "journal": json.dumps(journal)}
    if (await tx.execute(_FINISH, values)).rowcount != 1:
        raise LeaseLostError(_lost(claim))


async def retry_later(
    tx: AsyncConnection,
    claim: Claim,
    failure: Failure,
    due_at: datetime,
    journal: Mapping[str, Any] | None = None,
) -> None:
    """Expect the next try of a delivery. `journal` keeps what an outside effect already came back with.

    Raises LeaseLostError: the delivery has meanwhile ended otherwise, and nothing may be scheduled.
    """
    await _end_try(tx, claim, failure, state="retrying", due_at=due_at, journal=journal)


async def give_up(
    tx: AsyncConnection, claim: Claim, failure: Failure, journal: Mapping[str, Any] | None = None
) -> None:
    """Mark a delivery dead; the caller commits and then rejects the message. Raises LeaseLostError."""
    await _end_try(tx, claim, failure, state="dead", due_at=None, journal=journal)


async def _end_try(
    tx: AsyncConnection,
    claim: Claim,
    failure: Failure,
    *,
    state: str,
    due_at: datetime | None,
    journal: Mapping[str, Any] | None,
) -> None:
    failed = claim.event.attempt
    values = {
        **_key(claim.consumer, claim.event),
        "subject": claim.event.subject,
        "state": state,
        "attempt": failed + 1 if state == "retrying" else failed,
        "failed": failed,
        "due_at": due_at,
        "token": claim.token,
        "journal": None if journal is None else json.dumps(journal),
        "error_class": failure.error_class,
        "error": failure.message,
        "error_trace": failure.trace,
    }
    if (await tx.execute(_END_OF_TRY, values)).one_or_none() is None:
        raise LeaseLostError(_lost(claim))


async def refusal(tx: AsyncConnection, consumer: str, event: Event) -> Refused:
    """Why a delivery that has an inbox row would not run now."""
    row = (await tx.execute(_LOOK, _key(consumer, event))).mappings().one()
    return _classify(row, event)


def _classify(row: RowMapping, event: Event) -> Refused:
    if row["state"] == "done":
        return Refused(Refusal.DUPLICATE)
    if row["attempt"] != event.attempt:
        return Refused(Refusal.STALE)
    if row["state"] == "running":
        return Refused(Refusal.BUSY, row["lease_until"])
    return Refused(Refusal.DEAD)


def _key(consumer: str, event: Event) -> dict[str, object]:
    return {"consumer": consumer, "event_id": event.id}


def _try(event: Event) -> dict[str, object]:
    return {"subject": event.subject, "attempt": event.attempt}


def _lost(claim: Claim) -> str:
    return f"{claim.consumer} does not hold try {claim.event.attempt} of event {claim.event.id} any more"
