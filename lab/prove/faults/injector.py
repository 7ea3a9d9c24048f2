"""The injector of faults: runs a plan beside the load.

A fault counts when its effect was observed while an order was unfinished. Each fault starts at its time, or when its
lane is free. A fault that has no observed effect within its bound does not count and reports what was missing; the
faults turn off again whatever they had turned on.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from lab.prove.faults import message, outside, process, server
from lab.prove.faults.plan import Planned
from lab.prove.system_under_test import AWAY, NotObserved, SystemUnderTest

FAULTS: Mapping[str, Callable[[SystemUnderTest, Planned], Awaitable[str]]] = {
    "kill_api": process.kill_api,
    "kill_relay": process.kill_relay,
    "kill_worker_main": process.kill_worker_main,
    "kill_worker_child": process.kill_worker_child,
    "kill_collector": process.kill_collector,
    "kill_sap": process.kill_sap,
    "kill_smtp": process.kill_smtp,
    "restart_rabbitmq": server.restart_rabbitmq,
    "restart_postgres": server.restart_postgres,
    "cut_connections_postgres": server.cut_connections_postgres,
    "cut_connections_rabbitmq": server.cut_connections_rabbitmq,
    "hold_answers_postgres": server.hold_answers_postgres,
    "hold_answers_rabbitmq": server.hold_answers_rabbitmq,
    "sap_errors": outside.sap_errors,
    "sap_timeouts": outside.sap_timeouts,
    "sap_lost_responses": outside.sap_lost_responses,
    "sap_late_commits": outside.sap_late_commits,
    "sap_outage": outside.sap_outage,
    "smtp_refusing": outside.smtp_refusing,
    "smtp_refusing_for_good": outside.smtp_refusing_for_good,
    "duplicate_delivery": message.duplicate_delivery,
    "garbage": message.garbage_in_every_queue,
}


# These have their effect at once, on the orders that were unfinished just before; then the fault waits for recovery.
# While the API is dead not even a new order is accepted.
IMMEDIATE = frozenset(kind for kind in FAULTS if kind.startswith(("kill_", "restart_", "cut_")))
NEXT_ORDER_SECONDS = 5.0  # until the next order is accepted, at any pace of a proof


@dataclass(frozen=True, slots=True)
class Injected:
    """The result of one fault: `started` and `ended` by this machine's clock, `note` for a person.

    `unfinished` counts the orders that were unfinished when it had its effect.
    """

    planned: Planned
    started: float
    ended: float
    observed: bool
    unfinished: int
    note: str

    @property
    def counts(self) -> bool:
        """Whether its effect was observed while an order was unfinished."""
        return self.observed and self.unfinished > 0


async def inject(
    system: SystemUnderTest, plan: Sequence[Planned], bound: float, on_injected: Callable[[Injected], None]
) -> list[Injected]:
    """Inject every fault at its time, counted from now; each has `bound` seconds until its effect is observed."""
    lanes: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
    started = time.monotonic()

    async def one(planned: Planned) -> Injected:
        await asyncio.sleep(planned.at - (time.monotonic() - started))
        async with lanes[planned.lane]:
            injected = await _inject(system, planned, bound)
        on_injected(injected)
        return injected

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(planned)) for planned in plan]
    return [task.result() for task in tasks]


async def _inject(system: SystemUnderTest, planned: Planned, bound: float) -> Injected:
    before = await _unfinished_orders(system)
    started, observed = time.time(), False
    if not before:
        return Injected(planned, started, started, observed, 0, "not injected, since every order was finished")
    try:
        async with asyncio.timeout(bound):
            note = await FAULTS[planned.kind](system, planned)
        observed = True
    except TimeoutError:
        note = f"its effect was not observed within {bound:g} s"
    except NotObserved as not_observed:
        note = str(not_observed)
    except AWAY as error:
        note = f"{type(error).__name__}: {error}"
    ended = time.time()
    unfinished = before if planned.kind in IMMEDIATE else min(before, await system.unfinished())
    return Injected(planned, started, ended, observed, unfinished, note)


async def _unfinished_orders(system: SystemUnderTest) -> int:
    """Unfinished orders, as soon as there are any; 0 when none comes."""
    try:
        async with asyncio.timeout(NEXT_ORDER_SECONDS):
            await system.until_answered(system.unfinished)
    except TimeoutError:
        return 0
    return await system.unfinished()
