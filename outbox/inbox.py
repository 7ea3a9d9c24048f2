"""The inbox: one row per (consumer, event) decides whether a delivery runs, so that it has its effect once.

                      finish_at_once
      no row ───────────────────────────────────▶ done
        │                                          ▲
        │ claim                                    │ finish, by the lease's token
        ▼                                          │
      running ─────────────────────────────────────┤ finish_at_once
        │   ▲  │                                   │
        │   │  └─ claim, once the lease is over    │
        │   │ claim of the expected generation     │
        ▼   │                                      │
      retrying ────────────────────────────────────┘
        ▲   │
        │   │ dead_letter
        │   ▼
      dead            replay: retrying, or running by a claim of a higher generation

| from              | to       | by                                                                          |
|-------------------|----------|-----------------------------------------------------------------------------|
| no row            | running  | `claim`: an outside effect begins under a lease                             |
| no row, retrying  | done     | `finish_at_once`: local effects, in the same transaction                    |
| running           | done     | `finish`, by the lease's token                                              |
| running, no row   | retrying | `retry_later`: the next generation is expected and scheduled                |
| running           | retrying | `retry_after_outage`: likewise, but an outage is no attempt                 |
| running, retrying | dead     | `dead_letter`: the caller commits and rejects the message                   |
| retrying          | running  | `claim` of the expected generation; an earlier one is stale                 |
| running           | running  | `claim` after the lease is over: `claims` counts those that never finished  |
| dead              | running  | `claim` of a higher generation: a replay                                    |

`generation` is the number of the message: a message with a lower one is stale. Every retry, outage and replay raises
it. `attempt` is the number that people count: from `first_generation`, which a replay sets anew and an outage moves on.

A step with local effects takes no lease. `finish_at_once` is in the transaction of its effects, and a concurrent
duplicate waits for the row until that transaction ends. An outside effect is claimed first: the claim is committed, its
lease is renewed, and only its token can finish it.

`retry_later`, `retry_after_outage` and `dead_letter` are in `outbox.failed_attempts`, the rest is here. Called by
`consumers.delivery`.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import RowMapping, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.envelope import Event
from outbox.missing_partition import lacks_partition

MAX_CLAIMS = 3  # of one generation, begun and never finished: then the delivery counts as a killer of workers


class LeaseLostError(Exception):
    """The claim is void: another worker runs the delivery, or it has ended. Nothing may be written for it."""

    @classmethod
    def of(cls, claim: "Claim") -> "LeaseLostError":
        """The error that names a claim which is void."""
        return cls(f"{claim.consumer} no longer holds generation {claim.event.generation} of event {claim.event.id}")


class EventExpiredError(Exception):
    """The event is older than the inbox keeps rows, so whether it was done is unknown."""


class Refusal(Enum):
    """Why a delivery does not run, and what its message's fate is."""

    DUPLICATE = "duplicate"  # done already: acknowledge
    STALE = "stale"  # a later generation is expected: acknowledge
    BUSY = "busy"  # another worker holds it, or it is not due: deliver again then
    DEAD = "dead"  # dead-lettered already: reject again


@dataclass(frozen=True, slots=True)
class Refused:
    """A delivery that does not run. `until`: when a busy one is to be delivered again."""

    reason: Refusal
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that runs.

    `token` is None for a step that takes no lease. `journal` has the results of an earlier attempt's outside effect.
    `claims` counts the claims of this generation, this one included. `attempt` is the number that people count.
    """

    consumer: str
    event: Event
    token: UUID | None = None
    claims: int = 1
    journal: Mapping[str, Any] | None = None
    attempt: int = 1


# A row may be claimed or finished: in the expected generation, or as a replay after it was dead-lettered.
_MAY_START = """(d.state = 'retrying' AND d.generation = excluded.generation)
             OR (d.state = 'dead' AND d.generation < excluded.generation)"""
# A replay begins with attempt 1, whatever its generation.
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

_STATE = text("""
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


async def claim(tx: AsyncConnection, consumer: str, event: Event, lease_seconds: float) -> Claim | Refused:
    """Claim a delivery for `lease_seconds`, or say why it does not run. Commit before acting on it.

    Raises EventExpiredError.
    """
    token = uuid4()
    values = {**_key(consumer, event), **_generation(event), "token": token, "lease_seconds": lease_seconds}
    with expiry_named(event):
        row = (await tx.execute(_CLAIM, values)).one_or_none()
    if row is None:
        return await refusal(tx, consumer, event)
    return Claim(consumer, event, token, row.claims, row.journal, row.attempt)


async def finish_at_once(tx: AsyncConnection, consumer: str, event: Event) -> Claim | Refused:
    """Mark a delivery done in the transaction of its local effects, before them; or say why it does not run.

    Raises EventExpiredError.
    """
    with expiry_named(event):
        row = (await tx.execute(_FINISH_AT_ONCE, {**_key(consumer, event), **_generation(event)})).one_or_none()
    return Claim(consumer, event, attempt=row.attempt) if row is not None else await refusal(tx, consumer, event)


async def renew(tx: AsyncConnection, claim: Claim, lease_seconds: float) -> None:
    """Hold a claim for `lease_seconds` from now. Raises LeaseLostError."""
    values = {**_key(claim.consumer, claim.event), "token": claim.token, "lease_seconds": lease_seconds}
    if (await tx.execute(_RENEW, values)).rowcount != 1:
        raise LeaseLostError.of(claim)


async def finish(tx: AsyncConnection, claim: Claim, journal: Mapping[str, Any]) -> None:
    """Mark a claimed delivery done, in the transaction of its effects. Raises LeaseLostError: roll back then."""
    values = {**_key(claim.consumer, claim.event), "token": claim.token, "journal": json.dumps(journal)}
    if (await tx.execute(_FINISH, values)).rowcount != 1:
        raise LeaseLostError.of(claim)


async def refusal(tx: AsyncConnection, consumer: str, event: Event) -> Refused:
    """Why a delivery that has an inbox row does not run now."""
    row = (await tx.execute(_STATE, _key(consumer, event))).mappings().one()
    return _classify(row, event)


def _classify(row: RowMapping, event: Event) -> Refused:
    """Only a lower generation is stale. A higher one may be the only message left, so it is delivered again."""
    if row["state"] == "done":
        return Refused(Refusal.DUPLICATE)
    if event.generation < row["generation"]:
        return Refused(Refusal.STALE)
    if row["state"] == "dead" and event.generation == row["generation"]:
        return Refused(Refusal.DEAD)
    return Refused(Refusal.BUSY, row["busy_until"])


@contextmanager
def expiry_named(event: Event) -> Iterator[None]:
    """Wrap a statement that writes a row: EventExpiredError replaces the driver's check violation."""
    try:
        yield
    except DBAPIError as error:
        if lacks_partition(error, "deliveries") is None:
            raise
        raise EventExpiredError(
            f"event {event.id} is older than the inbox keeps events: whether it was done is unknown"
        ) from error


def _key(consumer: str, event: Event) -> dict[str, object]:
    return {"consumer": consumer, "event_id": event.id}


def _generation(event: Event) -> dict[str, object]:
    return {"subject": event.subject, "generation": event.generation}
