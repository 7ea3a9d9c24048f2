"""What blocks one step of an order, in words. Pure.

    its row       and its newest dead letter     is blocked by
    ──────────────────────────────────────────────────────────────────────────────────────────────
    done          any                            nothing
    any other     open                           the dead letter
    any other     discarded, and nothing newer   the dead letter
    none          none, not owed                 nothing: the step joined the table after the order's placement
    none          any other                      its event
    running       replayed, without a lease      the replay's event
    running       any other                      the attempt, or its event if the worker was lost
    retrying      any other                      the time of the next attempt, or its event
    dead          any other                      the dead letter, or that it is not collected yet

Its event is scheduled, waits in the outbox, or else is in the step's queue. Called by `orders.tracking.waiting`.
"""

from dataclasses import dataclass
from datetime import datetime

from orders.model import StepProgress, StepState
from orders.tracking.progress import REJECTED, OrderDeadLetter, OrderProgress
from orders.tracking.wording import clock, last_error
from orders.workflow import BY_QUEUE, Step, joined_steps


@dataclass(frozen=True, slots=True)
class OrderStep:
    """One step of an order for the event that it reacts to, at the moment `now`."""

    step: Step
    event_type: str
    progress: OrderProgress
    now: datetime

    def blocked_by(self) -> str | None:
        """What blocks the step; None if it is done, or not owed and not begun."""
        known = self.progress.steps.get((self.step.queue, self.event_type))
        if known is not None and known.state is StepState.DONE:
            return None
        dead_letter = self._dead_letter()
        if known is None and dead_letter is None and self._joined_later():
            return None
        if dead_letter is not None and dead_letter.state == "open":
            return open_text(dead_letter)
        if dead_letter is not None and dead_letter.state == "discarded" and self._was_the_last(dead_letter):
            return _discarded(dead_letter)
        return self._by_its_row(known, dead_letter)

    def _joined_later(self) -> bool:
        """Whether a joined step is not among those that the order was placed with."""
        name = self.step.name
        return self.event_type != REJECTED and name in joined_steps() and name not in self.progress.open_joins

    def _by_its_row(self, known: StepProgress | None, dead_letter: OrderDeadLetter | None) -> str:
        if known is None or known.state is StepState.PENDING:
            return f"not begun: {self._on_its_way()}"
        if known.state is StepState.DEAD:
            return self._dead_lettered(known, dead_letter)
        if known.state is StepState.RUNNING:
            return self._running(known, dead_letter)
        return f"waiting in {self.step.queue}, attempt {known.attempt}{self._next_attempt(known)}"

    def _running(self, known: StepProgress, dead_letter: OrderDeadLetter | None) -> str:
        """A running step has a lease. Without one its worker was lost, and its message redelivered or dead-lettered."""
        queue, leases = self.step.queue, self.progress.leases
        runs = f"running in {queue}, attempt {known.attempt}"
        if leases is None:
            return runs
        until = leases.get(queue)
        if until is None and dead_letter is not None and dead_letter.state == "replayed":
            return self._replayed(dead_letter)
        if until is None:
            return f"attempt {known.attempt} in {queue} never ended: {self._on_its_way()}"
        if until > self.now:
            return f"{runs}, its lease ends {clock(until, self.now)}"
        return f"{runs}, its lease ran out {clock(until, self.now)}: its worker is gone, the next delivery takes it"

    def _next_attempt(self, known: StepProgress) -> str:
        """The time of the next attempt. One that is due and has not begun waits for its worker, which may be paused."""
        due = known.next_attempt_at
        if due is None or due > self.now:
            when = "" if due is None else f", next attempt {clock(due, self.now)}"
        else:
            when = f", due since {clock(due, self.now)}: {self._on_its_way()}"
        return when + last_error(known.error)

    def _dead_lettered(self, known: StepProgress, dead_letter: OrderDeadLetter | None) -> str:
        if dead_letter is None or self._attempted_after(dead_letter):
            died = f"dead-lettered in {self.step.queue} after attempt {known.attempt}"
            return f"{died}, its dead letter is not collected yet{last_error(known.error)}"
        if dead_letter.state == "discarded":
            return _discarded(dead_letter)
        return self._replayed(dead_letter)

    def _replayed(self, dead_letter: OrderDeadLetter) -> str:
        return f"{_named(dead_letter)} is replayed: {self._on_its_way()}"

    def _dead_letter(self) -> OrderDeadLetter | None:
        """The newest dead letter of the step, or of its event, which the relay could not publish; an open one first."""
        of_step = [
            dead_letter
            for dead_letter in self.progress.dead_letters
            if dead_letter.type in {self.event_type, None}
            and (dead_letter.queue == self.step.queue or dead_letter.queue not in BY_QUEUE)
        ]
        return max(of_step, key=lambda dead_letter: (dead_letter.state == "open", dead_letter.number), default=None)

    def _was_the_last(self, dead_letter: OrderDeadLetter) -> bool:
        """Whether the step has no other message or attempt than a dead letter, whatever its row says.

        For an unreadable message, or one that the broker or the relay dead-lettered, no step's code ran: its row is
        unchanged.
        """
        until = (self.progress.leases or {}).get(self.step.queue)
        runs = until is not None and until > self.now
        return not (self._due() is not None or self._unread() or runs or self._attempted_after(dead_letter))

    def _attempted_after(self, dead_letter: OrderDeadLetter) -> bool:
        generation = self.progress.generations.get((self.step.queue, self.event_type))
        return generation is not None and dead_letter.generation is not None and generation > dead_letter.generation

    def _on_its_way(self) -> str:
        due = self._due()
        if due is not None and due > self.now:
            return f"its event is due {clock(due, self.now)}"
        if due is not None:
            return "its event is due, the relay has not moved it"
        return "its event waits in the outbox" if self._unread() else f"its event is in queue {self.step.queue}"

    def _due(self) -> datetime | None:
        due = self.progress.due
        return min((due[address] for address in self._addresses() if address in due), default=None)

    def _unread(self) -> bool:
        return bool(self.progress.unread & self._addresses())

    def _addresses(self) -> set[tuple[str, str | None]]:
        """The step's event as it is addressed: to all that listen, or to the step alone."""
        return {(self.event_type, None), (self.event_type, self.step.queue)}


def open_text(dead_letter: OrderDeadLetter) -> str:
    """An open dead letter, with its reason and error."""
    return f"{_named(dead_letter)} is open ({dead_letter.reason}){last_error(dead_letter.error)}"


def _discarded(dead_letter: OrderDeadLetter) -> str:
    return f"{_named(dead_letter)} was discarded{last_error(dead_letter.error)}"


def _named(dead_letter: OrderDeadLetter) -> str:
    return f"dead letter {dead_letter.number} in {dead_letter.queue}"
