"""The decision about a failed attempt: another one, at what time, or a dead letter, and why.

Pure but for the clock and the random jitter. Called by `consumers.delivery.failure`.
"""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from consumers.delivery.error_kinds import KilledWorkerError, kind_of, wait_seconds
from consumers.delivery.result import DeliveryResult
from orders.workflow import Step, pool_of
from outbox.dead_letter_reason import DeadLetterReason
from outbox.envelope import MAX_GENERATION
from runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """Another attempt at `due_at`; or a dead letter for `reason`, with no replay before `due_at`.

    `attempt` is the number of the failed attempt, from 1.
    """

    result: DeliveryResult
    attempt: int
    due_at: datetime | None = None
    reason: DeadLetterReason | None = None


class RetryDecider:
    """Applies a step's policy."""

    def __init__(self, step: Step, settings: Settings) -> None:
        self._policy = step.retry
        self._base_seconds: float = getattr(settings, pool_of(step).retry_base)
        self._rng = random.Random()  # noqa: S311 - jitter is no secret

    def decide(self, attempt: int, generation: int, error: Exception, *, outage: bool) -> RetryDecision:
        """Decide about attempt number `attempt`, made at generation `generation`.

        `outage`: the other side as a whole is away, so the attempt does not count.
        """
        reason = self._last(attempt, generation, error, outage=outage)
        if reason is not None:
            wait = wait_seconds(error)
            not_before = datetime.now(UTC) + timedelta(seconds=wait) if wait else None
            return RetryDecision(DeliveryResult.DEAD, attempt, not_before, reason)
        if outage:  # the worker takes nothing during an outage, so the delay need not grow
            return RetryDecision(DeliveryResult.AWAY, attempt, datetime.now(UTC) + self.delay(1, error))
        return RetryDecision(DeliveryResult.RETRIED, attempt, datetime.now(UTC) + self.delay(attempt, error))

    def delay(self, attempt: int, error: Exception) -> timedelta:
        """The time from the failure of attempt number `attempt` to the next attempt."""
        jittered = self._policy.delay_seconds(attempt, self._base_seconds, self._rng)
        return timedelta(seconds=wait_seconds(error) + jittered)

    def _last(self, attempt: int, generation: int, error: Exception, *, outage: bool) -> DeadLetterReason | None:
        """Why a failed attempt was the last; None if another follows."""
        if isinstance(error, KilledWorkerError):
            return DeadLetterReason.KILLED_WORKER
        if generation >= MAX_GENERATION:
            return DeadLetterReason.RETRIES_EXHAUSTED
        if outage:
            return None
        if kind_of(error) not in self._policy.worth_another_attempt:
            return DeadLetterReason.REJECTED
        return DeadLetterReason.RETRIES_EXHAUSTED if self._policy.is_last(attempt) else None
