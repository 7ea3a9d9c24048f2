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
| running           | retrying | `hand_back`: an outage, which is no try; the count moves along      |

`generation` is the generation: whatever bears an older one is stale. How often a delivery was really tried is counted
from `first_generation`, which a replay sets anew and an outage moves along.

A step with local effects only takes no lease: `finish_at_once` stands in the transaction of its effects, and a
concurrent duplicate waits on the row until that transaction ends. An outside effect is claimed first: the claim is
committed, its lease renewed, and only its token can finish it.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import RowMapping, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.envelope import Event
from runtime.database import lacks_partition

MAX_CLAIMS = 3  # claims begun and never finished before a delivery counts as a killer of workers


class LeaseLostError(Exception):
    """The claim is void: another worker runs the delivery, or it has ended. Nothing may be written for it."""


class ForgottenError(Exception):
    """The event is older than what the inbox remembers: nobody can say any more whether it was done."""


class GivenUp(StrEnum):
    """Why a delivery is dead: the inbox's part of a dead letter's reasons."""

    REJECTED = "rejected"  # its error is none that another try could mend
    RETRIES_EXHAUSTED = "retries_exhausted"
    KILLED_WORKER = "killed_worker"


class Refusal(Enum):
    """Why a delivery does not run."""

    DUPLICATE = "duplicate"  # done already: acknowledge
    STALE = "stale"  # a later try is expected: acknowledge
    BUSY = "busy"  # another worker holds it, or its time has not come: come back then
    DEAD = "dead"  # given up already: reject again


@dataclass(frozen=True, slots=True)
class Refused:
    """A delivery that does not run. `until`: of a busy one, when to come back."""

    why: Refusal
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that runs. `token` is None for a step that takes no lease. `journal` is what an earlier try got.

    `attempt` counts from 1 and says which one this is.
    """

    consumer: str
    event: Event
    token: UUID | None = None
    claims: int = 1
    journal: Mapping[str, Any] | None = None
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as it is kept: class name, message, trace, and what groups it with others of the same cause."""

    error_class: str
    message: str
    trace: str
    fingerprint: str | None = None


# A claim may start: the first delivery, the try that is expected, a replay of what was given up.
_MAY_START = """(d.state = 'retrying' AND d.generation = excluded.generation)
             OR (d.state = 'dead' AND d.generation < excluded.generation)"""
# A replay has all its attempt, whichever one it is.
_COUNT_FROM = "first_generation = CASE WHEN d.state = 'dead' THEN excluded.generation ELSE d.first_generation END"

_CLAIM = text(f"""
INSERT INTO outbox.deliveries AS d
       (consumer, event_id, subject, state, generation, first_generation, claims, lease_token, lease_until)
VALUES (:consumer, :event_id, :subject, 'running', :generation, :generation, 1, :token,
        clock_timestamp() + make_interval(secs => :lease_seconds))
ON CONFLICT (consumer, event_id) DO UPDATE
SET state = 'running', generation = excluded.generation, {_COUNT_FROM}, lease_token = excluded.lease_token,
    lease_until = excluded.lease_until, due_at = NULL, reason = NULL, changed_at = clock_timestamp(),
    claims = CASE WHEN d.state = 'running' THEN d.claims + 1 ELSE 1 END
WHERE {_MAY_START}
   OR (d.state = 'running' AND d.generation = excluded.generation AND d.lease_until < clock_timestamp())
RETURNING claims, journal, generation - first_generation + 1 AS attempt
""")  # noqa: S608 - _MAY_START and _COUNT_FROM are constants

_FINISH_AT_ONCE = text(f"""
INSERT INTO outbox.deliveries AS d (consumer, event_id, subject, state, generation, first_generation, claims)
VALUES (:consumer, :event_id, :subject, 'done', :generation, :generation, 0)
ON CONFLICT (consumer, event_id) DO UPDATE
SET state = 'done', generation = excluded.generation, {_COUNT_FROM}, due_at = NULL, reason = NULL,
    changed_at = clock_timestamp()
WHERE {_MAY_START}
RETURNING generation - first_generation + 1 AS attempt
""")  # noqa: S608 - _MAY_START and _COUNT_FROM are constants

# For a delivery whose own transaction is gone: its row, unless a replay of what was given up begins the count anew.
_COUNTED_FROM = text("""
SELECT first_generation FROM outbox.deliveries
WHERE consumer = :consumer AND event_id = :event_id AND state <> 'dead' AND first_generation <= :generation
""")

_LOOK = text("""
SELECT state, generation, coalesce(lease_until, due_at) AS busy_until
FROM outbox.deliveries WHERE consumer = :consumer AND event_id = :event_id
""")

_RENEW = text("""
UPDATE outbox.deliveries SET lease_until = clock_timestamp() + make_interval(secs => :lease_seconds)
WHERE consumer = :consumer AND event_id = :event_id AND lease_token = :token
""")

_FINISH = text("""
UPDATE outbox.deliveries
SET state = 'done', lease_token = NULL, lease_until = NULL, claims = 0, changed_at = clock_timestamp(),
    journal = CAST(:journal AS jsonb)
WHERE consumer = :consumer AND event_id = :event_id AND lease_token = :token
""")

# With a token: that claim's row. Without: the row that the failed transaction did not get to keep.
_END_ATTEMPT = text("""
INSERT INTO outbox.deliveries AS d
       (consumer, event_id, subject, state, generation, first_generation, claims, due_at, error_class, error, error_trace,
        fingerprint, reason)
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


async def claim(tx: AsyncConnection, consumer: str, event: Event, lease_seconds: float) -> Claim | Refused:
    """Claim a delivery for `lease_seconds`, or learn why it does not run. Commit before acting on it.

    Raises ForgottenError.
    """
    token = uuid4()
    values = {**_key(consumer, event), **_generation(event), "token": token, "lease_seconds": lease_seconds}
    with _told_if_forgotten(event):
        row = (await tx.execute(_CLAIM, values)).one_or_none()
    if row is None:
        return await refusal(tx, consumer, event)
    return Claim(consumer, event, token, row.claims, row.journal, row.attempt)


async def finish_at_once(tx: AsyncConnection, consumer: str, event: Event) -> Claim | Refused:
    """Mark a delivery done in the transaction of its local effects, before them; or learn why it does not run.

    Raises ForgottenError.
    """
    with _told_if_forgotten(event):
        row = (await tx.execute(_FINISH_AT_ONCE, {**_key(consumer, event), **_generation(event)})).one_or_none()
    return Claim(consumer, event, attempt=row.attempt) if row is not None else await refusal(tx, consumer, event)


async def attempt_of(tx: AsyncConnection, claim: Claim) -> int:
    """Which try of its delivery a claim is, also one whose transaction was rolled back; counts from 1."""
    if claim.token is not None:
        return claim.attempt
    values = {**_key(claim.consumer, claim.event), "generation": claim.event.generation}
    first = (await tx.execute(_COUNTED_FROM, values)).scalar_one_or_none()
    return 1 if first is None else claim.event.generation - int(first) + 1


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
    first = claim.event.generation - await attempt_of(tx, claim) + 1
    await _end_attempt(tx, claim, failure, _End("retrying", claim.event.generation + 1, first, due_at), journal)


async def hand_back(tx: AsyncConnection, claim: Claim, failure: Failure, due_at: datetime) -> None:
    """Expect a delivery again that could not really be tried. It becomes the next generation, and counts as no try.

    Raises LeaseLostError.
    """
    first = claim.event.generation - await attempt_of(tx, claim) + 2
    await _end_attempt(tx, claim, failure, _End("retrying", claim.event.generation + 1, first, due_at), None)


async def give_up(
    tx: AsyncConnection,
    claim: Claim,
    failure: Failure,
    reason: GivenUp,
    not_before: datetime | None = None,
    journal: Mapping[str, Any] | None = None,
) -> None:
    """Mark a delivery dead; the caller commits and then rejects the message. Raises LeaseLostError.

    `not_before`: a replay must not come sooner, because what the try set off outside may still go on.
    """
    first = claim.event.generation - await attempt_of(tx, claim) + 1
    await _end_attempt(tx, claim, failure, _End("dead", claim.event.generation, first, not_before, reason), journal)


@dataclass(frozen=True, slots=True)
class _End:
    """What a delivery's row says after a try that did not finish it."""

    state: str
    generation: int
    first_generation: int
    due_at: datetime | None = None
    reason: GivenUp | None = None


async def _end_attempt(
    tx: AsyncConnection, claim: Claim, failure: Failure, end: _End, journal: Mapping[str, Any] | None
) -> None:
    values = {
        **_key(claim.consumer, claim.event),
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
    with _told_if_forgotten(claim.event):
        row = (await tx.execute(_END_ATTEMPT, values)).one_or_none()
    if row is None:
        raise LeaseLostError(_lost(claim))


async def refusal(tx: AsyncConnection, consumer: str, event: Event) -> Refused:
    """Why a delivery that has an inbox row would not run now."""
    row = (await tx.execute(_LOOK, _key(consumer, event))).mappings().one()
    return _classify(row, event)


def _classify(row: RowMapping, event: Event) -> Refused:
    """Only an older try is stale: a newer one may be the only message that there is, so it comes back."""
    if row["state"] == "done":
        return Refused(Refusal.DUPLICATE)
    if event.generation < row["generation"]:
        return Refused(Refusal.STALE)
    if row["state"] == "dead" and event.generation == row["generation"]:
        return Refused(Refusal.DEAD)
    return Refused(Refusal.BUSY, row["busy_until"])


@contextmanager
def _told_if_forgotten(event: Event) -> Iterator[None]:
    """Raises ForgottenError in place of the driver's check violation for a row that no partition takes."""
    try:
        yield
    except DBAPIError as error:
        if lacks_partition(error, "deliveries") is None:
            raise
        raise ForgottenError(
            f"event {event.id} is older than the inbox remembers: nobody can say whether it was done"
        ) from error


def _key(consumer: str, event: Event) -> dict[str, object]:
    return {"consumer": consumer, "event_id": event.id}


def _generation(event: Event) -> dict[str, object]:
    return {"subject": event.subject, "generation": event.generation}


def _lost(claim: Claim) -> str:
    return f"{claim.consumer} does not hold try {claim.event.generation} of event {claim.event.id} any more"
