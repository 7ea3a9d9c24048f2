"""What becomes of a failed try: another one, at what time, or the end, and why. Pure but for the clock and the dice."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from consumers.delivery.error_kinds import KilledWorkerError, kind_of, wait_seconds
from consumers.delivery.outcome import Outcome
from orders.workflow import Step, pool_of
from outbox.envelope import MAX_GENERATION
from outbox.inbox import GivenUp
from runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a failed try: another one at `due_at`, or the end for `reason`, with no replay before `due_at`.

    `attempt` is the number of the failed attempt, from 1.
    """

    outcome: Outcome
    attempt: int
    due_at: datetime | None = None
    reason: GivenUp | None = None


class Judge:
    """Applies a step's policy."""

    def __init__(self, step: Step, settings: Settings) -> None:
        self._policy = step.retry
        self._base_seconds: float = getattr(settings, pool_of(step).retry_base)
        self._rng = random.Random()  # noqa: S311 - jitter is no secret

    def verdict(self, attempt: int, generation: int, error: Exception, *, away: bool) -> Verdict:
        """The end of try number `attempt`, which is generation `attempt`. `away`: nobody was there to try it with."""
        reason = self._last(attempt, generation, error, away=away)
        if reason is not None:
            wait = wait_seconds(error)
            not_before = datetime.now(UTC) + timedelta(seconds=wait) if wait else None
            return Verdict(Outcome.DEAD, attempt, not_before, reason)
        if away:  # for as long as nobody is there the worker takes nothing, so this need not grow
            return Verdict(Outcome.AWAY, attempt, datetime.now(UTC) + self.delay(1, error))
        return Verdict(Outcome.RETRIED, attempt, datetime.now(UTC) + self.delay(attempt, error))

    def delay(self, attempt: int, error: Exception) -> timedelta:
        """From the failure of try number `attempt` to the next."""
        jittered = self._policy.delay_seconds(attempt, self._base_seconds, self._rng)
        return timedelta(seconds=wait_seconds(error) + jittered)

    def _last(self, attempt: int, generation: int, error: Exception, *, away: bool) -> GivenUp | None:
        """Why a failed try was the last; None if there is another."""
        if isinstance(error, KilledWorkerError):
            return GivenUp.KILLED_WORKER
        if generation >= MAX_GENERATION:
            return GivenUp.RETRIES_EXHAUSTED
        if away:
            return None
        if kind_of(error) not in self._policy.worth_another_try:
            return GivenUp.REJECTED
        return GivenUp.RETRIES_EXHAUSTED if self._policy.gives_up_after(attempt) else None
