"""A child of the worker: one forked process with its own event loop, connections and step runners.

Connections belong to the process that opened them, so everything is made after the fork. The loop turns only while a
delivery runs: only then is its lease renewed and are its calls answered. `consumers.worker.delivery_task` runs
deliveries here.
"""

import asyncio
import signal
import time
from collections.abc import Coroutine, Mapping
from typing import TypeVar

import uvloop
from celery.signals import setup_logging, worker_process_init, worker_process_shutdown

from consumers.delivery.context import WorkerContext, open_context
from consumers.delivery.pipeline import StepRunner
from consumers.delivery.step_kinds import StepKind
from orders.workflow import Step
from runtime.logging import get_logger
from runtime.settings import Settings
from runtime.tracing import tracer

# How long a child that cannot open its resources waits before it ends: the pool makes another at once, and without end.
# Far below worker_proc_alive_timeout, after which the pool would kill it.
UNUSABLE_PAUSE_SECONDS = 5.0

CONNECTIONS_PER_CHILD = 2  # one for the delivery, one to renew its lease

Result = TypeVar("Result")

log = get_logger(__name__)


class EventLoop:
    """A loop that outlives the single delivery, so that connections are kept between deliveries."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)

    def run(self, work: Coroutine[None, None, Result]) -> Result:
        """The result of `work`, run to its end."""
        return self._runner.run(work)

    def close(self) -> None:
        """End what still runs and close the loop."""
        self._runner.close()


class ChildProcess:
    """The state of one child, made in the main process and opened after the fork."""

    def __init__(self, settings: Settings, pool: str, step_classes: Mapping[Step, type[StepKind]]) -> None:
        self._settings = settings.model_copy(update={"database_pool_size": CONNECTIONS_PER_CHILD})
        self._pool = pool
        self._step_classes = step_classes
        self._loop: EventLoop | None = None
        self._ctx: WorkerContext | None = None
        self._runners: dict[str, StepRunner] = {}
        worker_process_init.connect(self._begin, weak=False)
        worker_process_shutdown.connect(self._end, weak=False)
        setup_logging.connect(_keep_our_logging, weak=False)

    def runner(self, step: Step) -> StepRunner:
        """The runner of a step."""
        return self._runners[step.name]

    def run(self, work: Coroutine[None, None, Result]) -> Result:
        """The result of `work`, run on this child's loop."""
        assert self._loop is not None, "a child without a loop has ended"
        return self._loop.run(work)

    def _begin(self, **_: object) -> None:
        """Called by Celery in each child. A child that cannot open its resources ends before it gets a delivery.

        Celery would log the error and hand it deliveries all the same, and each would be rejected. The main
        process continues and keeps its messages: if it ended, they would go back, start after start, until their
        delivery limit is reached.
        """
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process, which stops its children
        try:
            self._open()
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            log.critical("child_unusable", error=text, retry_in_seconds=UNUSABLE_PAUSE_SECONDS, exc_info=error)
            time.sleep(UNUSABLE_PAUSE_SECONDS)
            raise SystemExit(1) from error

    def _open(self) -> None:
        tracer.set_up(self._settings, f"worker-{self._pool}")
        self._loop = EventLoop()
        self._loop.run(self._open_on_loop())

    async def _open_on_loop(self) -> None:
        self._ctx = ctx = open_context(self._settings, f"waybill-worker-{self._pool}")
        self._runners = {
            step.name: StepRunner(step, step_class.open(self._settings), ctx)
            for step, step_class in self._step_classes.items()
        }

    def _end(self, **_: object) -> None:
        try:
            if self._loop is not None:
                self._loop.run(self._close())
                self._loop.close()
        finally:
            tracer.shut_down()  # an unclean close is no reason to lose the child's spans

    async def _close(self) -> None:
        for runner in self._runners.values():
            await runner.close()
        if self._ctx is not None:
            await self._ctx.close()


def _keep_our_logging(**_: object) -> None:
    """Celery leaves logging alone when this signal has a receiver."""
