"""The pipeline of one delivery: claim, act, finish; or retry later, hand back, dead-letter.

    consumers.worker.delivery_task      log context, span, report, answer to the broker
      └─ StepRunner.deliver             makes the Delivery, turns every error into a DeliveryResult
           └─ step.run(delivery)        one of three kinds (consumers.delivery.step_kinds):

         LocalStep       ┌──────── one transaction ─────────┐
                         │ inbox row · effect · next event  │
                         └──────────────────────────────────┘
         OutsideStep     ┌─ claim ──┐   ┌─ perform ───┐   ┌──────────── finish ─────────────┐
                         │ prepare  │ ▶ │ under lease │ ▶ │ inbox row · conclude · next ev. │
                         └──────────┘   └─────────────┘   └─────────────────────────────────┘
         RecordingStep   one statement: the row is its own inbox row

      a step raises      ▶ consumers.delivery.failure: retried, handed back (AWAY) or dead-lettered
      the inbox refuses  ▶ duplicate, stale or dead already; busy: the message is scheduled again
      the lease is lost  ▶ nothing is written; the inbox row now says how to answer the broker

A step's effect, its inbox row and its next event are committed together. A failed attempt and the row that schedules
the next one are committed together, then the delivery is acknowledged. Dead-lettering is committed with its reason,
then the delivery is rejected; redelivered, it is rejected again. While Postgres is away a worker waits and keeps its
delivery: that is no attempt, and nothing is dead-lettered for it. Nor is it an attempt when the other side is away as a
whole: the delivery is scheduled again, and its result AWAY opens the circuit (`consumers.worker.circuit`).
"""

from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery.claim import NotRunnableError
from consumers.delivery.context import WorkerContext
from consumers.delivery.delivery import Delivery
from consumers.delivery.failure import fail
from consumers.delivery.result import DeliveryResult, of_refusal
from consumers.delivery.retry_decision import RetryDecider
from consumers.delivery.step_kinds import StepKind
from orders.events import EventDataError, parse_order_id
from orders.workflow import Step
from outbox import inbox
from outbox.envelope import Event
from outbox.inbox import EventExpiredError, LeaseLostError, Refusal, Refused
from outbox.schedule import schedule
from runtime.logging import get_logger
from runtime.redaction.redact import unquoted
from runtime.tracing import tracer

SOONEST = timedelta(seconds=0.5)  # until a busy delivery comes back

log = get_logger(__name__)


class StepRunner:
    """One step in one worker process."""

    def __init__(self, step: Step, kind: StepKind, ctx: WorkerContext) -> None:
        self.step = step
        self._kind = kind
        self._ctx = ctx
        self._decider = RetryDecider(step, ctx.settings)

    async def deliver(self, event: Event, *, redelivered: bool = False) -> DeliveryResult:
        """Run one delivery to its end. `redelivered`: an earlier worker had it and did not answer for it.

        Data that is not its event type's is rejected without an inbox row: there is no order to write it to.
        """
        try:
            order_id = parse_order_id(event.type, event.data)
            return await self._attempt(Delivery(event, order_id, self.step, self._ctx, redelivered))
        except NotRunnableError as error:
            return await self._refused(error.refused, event)
        except LeaseLostError as error:
            log.warning("lease_lost", error=str(error))
            return await self._ended_otherwise(event)
        except (EventDataError, EventExpiredError) as error:
            tracer.failed(error)
            text = f"{type(error).__name__}: {unquoted(str(error))}"
            log.error("event_refused", step=self.step.name, error=text, event_id=str(event.id))  # noqa: TRY400
            return DeliveryResult.DEAD

    async def close(self) -> None:
        """Close the step's adapters."""
        await self._kind.close()

    async def _attempt(self, delivery: Delivery) -> DeliveryResult:
        try:
            return await self._kind.run(delivery)
        except (NotRunnableError, LeaseLostError, EventExpiredError):
            raise
        except Exception as error:  # noqa: BLE001 - any other error of a step ends its attempt
            outage = await self._kind.finds_outage(delivery, error)
            return await fail(delivery, error, self._decider, outage=outage)

    async def _ended_otherwise(self, event: Event) -> DeliveryResult:
        """Answer the broker for a delivery whose lease is lost, by its inbox row.

        Dead-lettered in a commit whose answer was lost: rejected, or it would miss its dead-letter queue. Left running
        by a worker that died: scheduled, because this message may be the only one that there is.
        """
        return await self._refused(await self._ctx.transactions.run(partial(self._refusal, event)), event)

    async def _refusal(self, event: Event, tx: AsyncConnection) -> Refused:
        return await inbox.refusal(tx, self.step.queue, event)

    async def _refused(self, refused: Refused, event: Event) -> DeliveryResult:
        if refused.reason is Refusal.BUSY:
            # It comes back when the other worker's lease is over: by then it is done, or this one may take it. It waits
            # for SOONEST where no lease is left to wait for: sent at once, it would circle.
            soonest = datetime.now(UTC) + SOONEST
            until = max(refused.until or soonest, soonest)
            await self._ctx.transactions.run(lambda tx: schedule(tx, event, self.step.queue, until))
        return of_refusal(refused.reason)
