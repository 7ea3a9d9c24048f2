"""The Celery application: one prefork worker per pool, one task per step, CloudEvents in.

Every setting here keeps a message from being acknowledged before its effect is committed; docs/delivery.md says
which loss each one prevents.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from typing import Any

import anyio
from amqp.exceptions import NotFound
from celery import Celery, Task
from celery.exceptions import Reject
from celery.signals import setup_logging, worker_process_init, worker_process_shutdown, worker_ready
from kombu import Connection

from consumers.delivery.context import Workplace, open_workplace
from consumers.delivery.outcome import Outcome
from consumers.delivery.runner import StepRunner
from consumers.delivery.span import deliver
from consumers.delivery.step_kinds import OutsideStep
from consumers.steps import REACTIONS
from consumers.topology import bind_again, step_queue
from consumers.worker.celery_logging import all_through_our_log
from consumers.worker.child_reports import Reports, Word
from consumers.worker.circuit import Circuit
from consumers.worker.counters import Tally
from consumers.worker.event_loop import EventLoop
from consumers.worker.metrics_endpoint import WorkerPage
from orders.workflow import POOLS, Step, steps_of
from outbox.envelope import decode
from runtime.logging import configure_logging, get_logger
from runtime.settings import Settings
from runtime.tracing import tracer

# The backstop behind every step's own limit, far below the broker's consumer timeout of 30 minutes.
HARD_TIME_LIMIT_SECONDS = 20 * 60
# Between two looks for a queue that is not there yet.
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0

# How long a child that cannot open what it needs waits for its end: the pool makes another at once, and without end.
# Far below worker_proc_alive_timeout, after which the pool would kill it.
UNUSABLE_PAUSE_SECONDS = 5.0

CONNECTIONS_PER_CHILD = 2  # one for the delivery, one to renew its lease

log = get_logger(__name__)


class WorkerApp(Celery):
    """Celery's application with what our consumer needs of it."""

    circuit: Circuit
    tally: Tally


def make_celery(settings: Settings, pool: str) -> WorkerApp:
    """The application of one pool's worker, with its tasks. Nothing connects yet."""
    app = WorkerApp(f"waybill-{pool}", broker=settings.amqp_url, set_as_current=False)
    app.conf.update(
        worker_consumer="consumers.worker.intake:EventConsumer",
        task_queues=[step_queue(step, settings.event_exchange) for step in steps_of(pool)],
        task_create_missing_queues=False,
        task_acks_late=True,
        task_acks_on_failure=False,
        task_acks_on_timeout=False,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        task_time_limit=HARD_TIME_LIMIT_SECONDS,
        task_serializer="json",
        accept_content=["json"],
        worker_concurrency=POOLS[pool].concurrency,
        worker_prefetch_multiplier=POOLS[pool].prefetch,
        worker_detect_quorum_queues=True,
        worker_enable_remote_control=True,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_proc_alive_timeout=60,
        broker_channel_error_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_heartbeat=10,
        enable_utc=True,
    )
    reports = Reports()
    office = _Office(settings, pool, reports)
    app.circuit = Circuit(_probes(settings, pool))
    app.tally = Tally(reports, pool, POOLS[pool].concurrency)
    for step in steps_of(pool):
        _add_task(app, step, office)
    return app


def run_worker(pool: str, settings: Settings) -> None:
    """Run one pool's worker until SIGTERM; what it has begun is finished, what it only holds goes back."""
    configure_logging(settings, f"worker-{pool}")
    all_through_our_log()
    if settings.worker_http_port:
        page = WorkerPage(settings)
        worker_ready.connect(page.serve, weak=False)
        worker_process_init.connect(page.leave, weak=False)  # the first of its receivers
    app = make_celery(settings, pool)
    _import_before_forking(settings, pool)
    _bind_queues(settings, pool)
    app.worker_main(
        [
            "--quiet",  # its banner is no log line
            "worker",
            "--pool=prefork",
            f"--hostname=waybill-{pool}@%h",
            "--without-gossip",
            "--without-mingle",
            f"--loglevel={settings.log_level}",
        ]
    )


class _Office:
    """The loop and the runners of one worker process, made after the fork."""

    def __init__(self, settings: Settings, pool: str, reports: Reports) -> None:
        self._reports = reports
        self._settings = settings.model_copy(update={"database_pool_size": CONNECTIONS_PER_CHILD})
        self._pool = pool
        self._loop: EventLoop | None = None
        self._place: Workplace | None = None
        self._runners: dict[str, StepRunner] = {}
        worker_process_init.connect(self._begin, weak=False)
        worker_process_shutdown.connect(self._close, weak=False)
        setup_logging.connect(_keep_our_logging, weak=False)

    def deliver(
        self, task: str, step: Step, attributes: Mapping[str, object], body: str, *, redelivered: bool
    ) -> Outcome:
        """Run one delivery of a step on this process's loop, and tell how it ended."""
        assert self._loop is not None, "a child without a loop has ended"
        begun = time.perf_counter()
        event = decode(attributes, body.encode())
        runner = self._runners[step.name]
        outcome = self._loop.run(deliver(runner, step, event, attributes, redelivered=redelivered))
        self._reports.tell(Word.of(task, step, event, outcome, time.perf_counter() - begun))
        return outcome

    def _begin(self, **_: object) -> None:
        """Called in each child. One that cannot open what it needs ends, before the pool hands it anything.

        Celery would log the error and hand it deliveries all the same, each of which would be rejected. The main
        process goes on and keeps what it holds: its end would give that back, start after start, until the messages'
        delivery limit is reached.
        """
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process, which stops its children
        try:
            self._open()
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            log.critical("child_unusable", error=told, pause_seconds=UNUSABLE_PAUSE_SECONDS, exc_info=error)
            time.sleep(UNUSABLE_PAUSE_SECONDS)
            raise SystemExit(1) from error

    def _open(self) -> None:
        tracer.set_up(self._settings, f"worker-{self._pool}")
        self._loop = EventLoop()
        place = self._loop.run(_open_on_loop(self._settings, self._pool))
        self._place = place
        self._runners = {step.name: StepRunner(step, REACTIONS[step.name], place) for step in steps_of(self._pool)}

    def _close(self, **_: object) -> None:
        try:
            if self._loop is not None and self._place is not None:
                self._loop.run(self._place.close())
                self._loop.close()
        finally:
            tracer.shut_down()  # what cannot be closed in good order is no reason to lose its spans


def _import_before_forking(settings: Settings, pool: str) -> None:
    """Have imported what is imported at first use, so that children share it: a second of CPU for each otherwise."""
    open_workplace(settings, f"waybill-worker-{pool}")  # the database dialect, the HTTP client; nothing connects
    anyio.run(anyio.sleep, 0)  # the HTTP client's event loop backend
    if settings.tracing_otlp_url:
        with contextlib.suppress(Exception):  # each child says why
            import_module("runtime.tracing.otlp")


async def _open_on_loop(settings: Settings, pool: str) -> Workplace:
    return open_workplace(settings, f"waybill-worker-{pool}")


def _add_task(app: Celery, step: Step, office: _Office) -> None:
    def run(task: "Task[Any, Any]", attributes: dict[str, Any], body: str, redelivered: bool) -> str:
        outcome = office.deliver(str(task.request.id), step, attributes, body, redelivered=redelivered)
        if outcome is Outcome.DEAD:
            raise Reject(f"{step.name} gave up", requeue=False)
        return str(outcome.value)

    run.__doc__ = f"{step.name} listens to {', '.join(step.listens_to)}."
    app.task(name=step.name, bind=True, Request="consumers.worker.celery_request:EventRequest")(run)


def _probes(settings: Settings, pool: str) -> dict[str, Callable[[], bool]]:
    """For each queue whose step acts outside: whether the other side is there."""
    reactions = {step.queue: REACTIONS[step.name] for step in steps_of(pool)}
    return {
        queue: partial(_is_back, settings, reaction)
        for queue, reaction in reactions.items()
        if isinstance(reaction, OutsideStep)
    }


def _is_back(settings: Settings, reaction: OutsideStep) -> bool:
    async def ask() -> bool:
        place = open_workplace(settings, "waybill-probe")
        try:
            return not await reaction.away(place)
        finally:
            await place.close()

    return asyncio.run(ask())


def _bind_queues(settings: Settings, pool: str) -> None:
    """Bind this pool's queues; wait, and say so, while the broker or one of them is not there."""
    queues = frozenset(step.queue for step in steps_of(pool))
    for pause in _pauses():
        try:
            with Connection(settings.amqp_url) as connection:
                connection.ensure_connection(errback=_say_broker_away, interval_start=1, interval_max=5)
                bind_again(connection.default_channel, settings.event_exchange, queues)
        except NotFound as error:
            log.warning("queue_missing", error=error.reply_text, do="waybill topology apply", pause_seconds=pause)
            time.sleep(pause)
        else:
            return


def _pauses() -> Iterator[float]:
    """Seconds between two looks for a queue: quick at first, because `topology apply` may run at this moment."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def _say_broker_away(error: Exception, seconds: float) -> None:
    log.warning("broker_away", error=str(error), pause_seconds=seconds)


def _keep_our_logging(**_: object) -> None:
    """Celery leaves logging alone when somebody listens to this signal."""
