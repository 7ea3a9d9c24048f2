"""THE table of steps: the only place that knows which step listens to what. Pure.

Bindings, queues, task names, worker pools, retry times and time limits are all derived from `STEPS`.
"""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from orders.events import EVENT_TYPES

Pool = Literal["local", "sap", "email", "invoice"]
POOLS: tuple[Pool, ...] = ("local", "sap", "email", "invoice")

UNROUTED_EXCHANGE = "orders.unrouted"
UNROUTED_QUEUE = "unrouted"
DEAD_LETTER_EXCHANGE = "orders.dead-letters"

# An order is finished within it when all is well: the promise that the metrics judge orders by.
PROMISED_SECONDS = 60.0


class ErrorKind(StrEnum):
    """What an error means for the next attempt.

    Adapters classify their own errors, `consumers.delivery.error_kinds` all others.
    """

    CONNECTION = "connection"  # nobody answers
    TIMEOUT = "timeout"
    THROTTLED = "throttled"  # 429: later, please
    SERVER = "server"  # 5xx: the other side's own trouble
    LOCK = "lock"  # Postgres: lock time-out, deadlock, serialization
    UNEXPECTED = "unexpected"  # nobody has thought of it, so nobody can say that it stays
    REFUSED = "refused"  # 4xx: asked again, the answer is the same
    BAD_DATA = "bad_data"  # what is asked for cannot be done with this order or event


WORTH_ANOTHER_TRY = frozenset(
    {
        ErrorKind.CONNECTION,
        ErrorKind.TIMEOUT,
        ErrorKind.THROTTLED,
        ErrorKind.SERVER,
        ErrorKind.LOCK,
        ErrorKind.UNEXPECTED,
    }
)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Which failures are tried again, and when: exponential back-off with full jitter.

    `base` names the setting with the first back-off's seconds. Full jitter draws evenly from 0 to the exponential
    bound, which spreads a crowd of failures best. What the error asks for (Retry-After) comes on top.
    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    base: Literal["retry_base_seconds", "sap_retry_base_seconds"] = "retry_base_seconds"
    max_retries: int = 5
    cap_seconds: float = 600.0
    worth_another_try: frozenset[ErrorKind] = WORTH_ANOTHER_TRY

    def delay_seconds(self, tries: int, base_seconds: float, rng: random.Random) -> float:
        """Seconds from the failure of try number `tries` (from 1) until the next."""
        bound = min(self.cap_seconds, base_seconds * 2 ** (tries - 1))
        return rng.uniform(0, bound)

    def gives_up_after(self, tries: int) -> bool:
        """Whether try number `tries` (from 1) was the last."""
        return tries > self.max_retries


@dataclass(frozen=True, slots=True)
class Step:
    """One reaction. `name` is the Celery task; `queue` names its queue and its consumer in the inbox.

    `deadline_seconds`, from the order's placement: an order that still waits for this step then is reported.
    """

    name: str
    queue: str
    listens_to: tuple[str, ...]
    emits: tuple[str, ...]
    pool: Pool
    time_limit_seconds: float
    deadline_seconds: float
    retry: RetryPolicy = RetryPolicy()

    @property
    def dead_letter_queue(self) -> str:
        """Where the broker puts what this step gave up."""
        return f"{self.queue}.dlq"


# The three after `order.synced`; the last of them to commit records `order.fulfilled`.
JOINED = ("send_confirmation_email", "generate_invoice_pdf", "update_analytics")

STEPS: tuple[Step, ...] = (
    Step("validate_order", "validation", ("order.placed",), ("order.validated", "order.rejected"), "local", 30, 60),
    Step(
        "reserve_inventory",
        "inventory",
        ("order.validated",),
        ("inventory.reserved", "order.rejected"),
        "local",
        30,
        120,
    ),
    Step(
        "sync_order_to_sap",
        "sap",
        ("inventory.reserved",),
        ("order.synced",),
        "sap",
        120,
        600,
        RetryPolicy(base="sap_retry_base_seconds", max_retries=4),  # five tries, within five minutes at 20 s
    ),
    Step(
        "send_confirmation_email",
        "email",
        ("order.synced", "order.rejected"),
        ("order.fulfilled",),
        "email",
        60,
        900,
    ),
    Step("generate_invoice_pdf", "invoice", ("order.synced",), ("order.fulfilled",), "invoice", 60, 900),
    Step("update_analytics", "analytics", ("order.synced",), ("order.fulfilled",), "local", 30, 900),
    Step("finalize_order", "finalization", ("order.fulfilled",), ("order.completed",), "local", 30, 960),
    Step("record_audit", "audit", tuple(EVENT_TYPES), (), "local", 30, 960),
)

BY_QUEUE: dict[str, Step] = {step.queue: step for step in STEPS}
BY_NAME: dict[str, Step] = {step.name: step for step in STEPS}


def steps_of(pool: Pool) -> tuple[Step, ...]:
    """The steps that a worker of this pool runs."""
    return tuple(step for step in STEPS if step.pool == pool)


def required_queues() -> tuple[str, ...]:
    """Every queue without which an event would be lost in silence."""
    return (*BY_QUEUE, UNROUTED_QUEUE)
