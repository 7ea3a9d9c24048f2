"""The table of steps: the only place that says which step listens to which event. Pure.

Bindings, queues, task names, worker pools, retry times and time limits are all derived from `STEPS`.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from orders.events import EVENT_TYPES

UNROUTED_EXCHANGE = "orders.unrouted"
UNROUTED_QUEUE = "unrouted"
DEAD_LETTER_EXCHANGE = "orders.dead-letters"

# The promised time from placement to completion, by which the metrics judge orders.
PROMISED_SECONDS = 60.0


class ErrorKind(StrEnum):
    """The kinds of errors, by what they mean for the next attempt.

    Adapters classify their own errors, `consumers.delivery.error_kinds` all others.
    """

    CONNECTION = "connection"  # no answer
    TIMEOUT = "timeout"
    THROTTLED = "throttled"  # 429: later, please
    SERVER = "server"  # 5xx: the other side's own trouble
    LOCK = "lock"  # Postgres: lock time-out, deadlock, serialization
    UNEXPECTED = "unexpected"  # an error that no adapter knows: it may pass
    REFUSED = "refused"  # 4xx: the same request gets the same answer
    BAD_DATA = "bad_data"  # the step cannot be done with this order or event


RETRYABLE = frozenset(
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

    The step's pool names the setting with the first back-off (`Pool.retry_base`). Full jitter draws evenly from 0 to
    the exponential bound, which spreads a crowd of failures best. A wait that the error names (Retry-After) is added.
    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    max_retries: int = 5
    cap_seconds: float = 600.0
    worth_another_attempt: frozenset[ErrorKind] = RETRYABLE

    def delay_seconds(self, attempt: int, base_seconds: float, rng: random.Random) -> float:
        """Seconds from the failure of attempt number `attempt` (from 1) until the next."""
        bound = min(self.cap_seconds, base_seconds * 2 ** (attempt - 1))
        return rng.uniform(0, bound)

    def is_last(self, attempt: int) -> bool:
        """Whether attempt number `attempt` (from 1) is the last."""
        return attempt > self.max_retries


@dataclass(frozen=True, slots=True)
class Pool:
    """One worker program and the steps that it runs.

    `concurrency` is its number of child processes, `prefetch` the messages held at hand for each child.
    `outside`: its steps act on another system, so its worker stops consuming while that system is away. A worker does
    not start if a step's code says otherwise (`consumers.steps.load`).
    `commit_wait` names the setting with the seconds in which the other system may still commit a call that has failed;
    None if it commits at once. `retry_base` names the setting with the seconds of the first back-off.
    """

    name: str
    concurrency: int
    prefetch: int = 1
    outside: bool = False
    commit_wait: str | None = None
    retry_base: str = "retry_base_seconds"


# Local steps are short transactions: a few children, and messages at hand. The others wait for another system or burn
# CPU: one message each, so that no message waits behind a slow one. Ports of workers are given out in this order.
POOLS: Mapping[str, Pool] = {
    pool.name: pool
    for pool in (
        Pool("local", concurrency=3, prefetch=8),
        Pool("sap", 8, outside=True, commit_wait="sap_commit_seconds", retry_base="sap_retry_base_seconds"),
        Pool("email", 3, outside=True),
        Pool("invoice", 2),
    )
}


@dataclass(frozen=True, slots=True)
class Step:
    """One reaction. `name` is the Celery task; `queue` names its queue and its consumer in the inbox.

    `deadline_seconds`, from the order's placement: an order that still waits for this step then is reported.
    `tracked`: the order's page shows the step and the order owes it. False for the audit, whose rows are its own inbox.
    """

    name: str
    queue: str
    listens_to: tuple[str, ...]
    emits: tuple[str, ...]
    pool: str
    time_limit_seconds: float
    deadline_seconds: float
    retry: RetryPolicy = RetryPolicy()
    tracked: bool = True

    @property
    def dead_letter_queue(self) -> str:
        """The queue to which the broker moves this step's rejected messages."""
        return f"{self.queue}.dlq"


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
        RetryPolicy(max_retries=4),  # five attempts, within five minutes at 20 s
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
    Step("record_audit", "audit", tuple(EVENT_TYPES), (), "local", 30, 960, tracked=False),
)

BY_QUEUE: dict[str, Step] = {step.queue: step for step in STEPS}
BY_NAME: dict[str, Step] = {step.name: step for step in STEPS}


def pool_of(step: Step) -> Pool:
    """The pool whose worker runs a step."""
    return POOLS[step.pool]


def steps_of(pool: str) -> tuple[Step, ...]:
    """The steps that the worker of this pool runs."""
    return tuple(step for step in STEPS if step.pool == pool)


def emitters_of(event_type: str) -> tuple[Step, ...]:
    """The steps that record this event."""
    return tuple(step for step in STEPS if event_type in step.emits)


def joined_steps() -> tuple[str, ...]:
    """The names of the steps before `order.fulfilled`. The last of an order's joined steps to commit records it."""
    return tuple(step.name for step in emitters_of("order.fulfilled"))


def leaf_steps() -> tuple[str, ...]:
    """The names of the tracked steps that emit nothing. No other step waits for one, but the order owes each."""
    return tuple(step.name for step in STEPS if step.tracked and not step.emits)


def last_steps() -> tuple[Step, ...]:
    """The steps that complete an order."""
    return emitters_of("order.completed")


def rejection_steps() -> tuple[Step, ...]:
    """The tracked steps that every rejected order still waits for; no leaf steps, which are owed order by order."""
    leaves = leaf_steps()
    return tuple(
        step for step in STEPS if step.tracked and step.name not in leaves and "order.rejected" in step.listens_to
    )


def required_queues() -> tuple[str, ...]:
    """Every queue without which an event would be lost in silence."""
    return (*BY_QUEUE, UNROUTED_QUEUE)
