"""The end of an attempt that did not finish its delivery: a retry, a retry after an outage, or a dead letter.

Each writes the delivery's inbox row in one statement: by the lease's token, or, for a step without a lease, as the row
that the rolled-back transaction would have written. They differ in the generations between which attempts are counted:

|                      | state    | `generation` | `first_generation` | the next attempt is |
|----------------------|----------|--------------|--------------------|---------------------|
| `retry_later`        | retrying | one more     | the same           | one more            |
| `retry_after_outage` | retrying | one more     | one more           | the same one        |
| `dead_letter`        | dead     | the same     | the same           | 1, after a replay   |

`outbox.inbox` has the other changes of a row, and the drawing of them all. Called by `consumers.delivery.failure`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.dead_letter_reason import DeadLetterReason
from outbox.inbox import Claim, LeaseLostError, expiry_named


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as the inbox keeps it; `fingerprint` is the same for all errors of one cause."""

    error_class: str
    message: str
    trace: str
    fingerprint: str | None = None


# For a delivery whose own transaction was rolled back: its row, unless a replay begins the count anew.
_COUNTED_FROM = text("""
SELECT first_generation FROM outbox.deliveries
WHERE consumer = :consumer AND event_id = :event_id AND state <> 'dead' AND first_generation <= :generation
""")

# With a token: the row of that claim. Without: the row that the rolled-back transaction would have written.
_END_ATTEMPT = text("""
INSERT INTO outbox.deliveries AS d
       (consumer, event_id, subject, state, generation, first_generation, claims, due_at, error_class, error,
        error_trace, fingerprint, reason)
VALUES (:consumer, :event_id, :subject, :state, :generation, :first_generation, 0, :due_at, :error_class, :error,
        :error_trace, :fingerprint, :reason)
ON CONFLICT (consumer, event_id) DO UPDATE
SET state = excluded.state, generation = excluded.generation, first_generation = excluded.first_generation, claims = 0,
    due_at = excluded.due_at, lease_token = NULL, lease_until = NULL, changed_at = clock_timestamp(),
    error_class = excluded.error_class, error = excluded.error, error_trace = excluded.error_trace,
    fingerprint = excluded.fingerprint, reason = excluded.reason,
    journal = coalesce(CAST(:journal AS jsonb), d.journal)
WHERE CASE WHEN CAST(:token AS uuid) IS NOT NULL THEN d.lease_token = :token
           ELSE (d.state = 'retrying' AND d.generation = :failed) OR (d.state = 'dead' AND d.generation < :failed) END
RETURNING consumer
""")


async def attempt_of(tx: AsyncConnection, claim: Claim) -> int:
    """The claim's attempt, counted from 1; also for a claim whose transaction was rolled back."""
    if claim.token is not None:
        return claim.attempt
    values = {"consumer": claim.consumer, "event_id": claim.event.id, "generation": claim.event.generation}
    first = (await tx.execute(_COUNTED_FROM, values)).scalar_one_or_none()
    return 1 if first is None else claim.event.generation - int(first) + 1


async def retry_later(
    tx: AsyncConnection,
    claim: Claim,
    failure: Failure,
    due_at: datetime,
    journal: Mapping[str, Any] | None = None,
) -> None:
    """Expect the next attempt of a delivery. `journal` keeps the results that an outside effect has already returned.

    Raises LeaseLostError: the delivery has meanwhile ended otherwise, and nothing may be scheduled.
    """
    first = claim.event.generation - await attempt_of(tx, claim) + 1
    await _end_attempt(tx, claim, failure, _End("retrying", claim.event.generation + 1, first, due_at), journal)


async def retry_after_outage(tx: AsyncConnection, claim: Claim, failure: Failure, due_at: datetime) -> None:
    """Expect a delivery again that an outage prevented: under the next generation, as the same attempt.

    Raises LeaseLostError.
    """
    first = claim.event.generation - await attempt_of(tx, claim) + 2
    await _end_attempt(tx, claim, failure, _End("retrying", claim.event.generation + 1, first, due_at), None)


async def dead_letter(
    tx: AsyncConnection,
    claim: Claim,
    failure: Failure,
    reason: DeadLetterReason,
    not_before: datetime | None = None,
    journal: Mapping[str, Any] | None = None,
) -> None:
    """Mark a delivery dead; the caller commits and then rejects the message. Raises LeaseLostError.

    `not_before`: a replay must not be sent sooner, because the attempt's outside effect may still be running.
    """
    first = claim.event.generation - await attempt_of(tx, claim) + 1
    await _end_attempt(tx, claim, failure, _End("dead", claim.event.generation, first, not_before, reason), journal)


@dataclass(frozen=True, slots=True)
class _End:
    """A delivery's row after an attempt that did not finish it."""

    state: str
    generation: int
    first_generation: int
    due_at: datetime | None = None
    reason: DeadLetterReason | None = None


async def _end_attempt(
    tx: AsyncConnection, claim: Claim, failure: Failure, end: _End, journal: Mapping[str, Any] | None
) -> None:
    values = {
        "consumer": claim.consumer,
        "event_id": claim.event.id,
        "subject": claim.event.subject,
        "state": end.state,
        "generation": end.generation,
        "first_generation": end.first_generation,
        "failed": claim.event.generation,
        "due_at": end.due_at,
        "reason": end.reason,
        "token": claim.token,
        "journal": None if journal is None else json.dumps(journal),
        "error_class": failure.error_class,
        "error": failure.message,
        "error_trace": failure.trace,
        "fingerprint": failure.fingerprint,
    }
    with expiry_named(claim.event):
        row = (await tx.execute(_END_ATTEMPT, values)).one_or_none()
    if row is None:
        raise LeaseLostError.of(claim)
