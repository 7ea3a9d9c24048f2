"""The Celery application: one prefork worker per pool, one task per step, CloudEvents in.

Every setting here keeps a message from being acknowledged before its effect is committed; docs/delivery.md names the
loss that each one prevents. `run_worker` is called by `waybill worker POOL`.
"""

import contextlib
from collections.abc import Mapping
from importlib import import_module

import anyio
from celery import Celery
from celery.signals import worker_process_init, worker_ready
from celery.utils.nodenames import host_format

from consumers import amqp_messages
from consumers.delivery.context import open_context
from consumers.delivery.step_kinds import StepKind
from consumers.steps.load import step_class
from consumers.topology import step_queue
from consumers.worker.celery_logging import use_our_log
from consumers.worker.child import ChildProcess
from consumers.worker.child_reports import ReportPipe
from consumers.worker.circuit import Circuit, probes_of
from consumers.worker.counters import DeliveryCounters
from consumers.worker.delivery_task import add_task
from consumers.worker.metrics_endpoint import MetricsEndpoint
from consumers.worker.queue_binding import bind_at_start
from orders.workflow import POOLS, Step, steps_of
from runtime.logging import configure_logging
from runtime.settings import Settings

# The backstop behind every step's own limit, far below the broker's consumer timeout of 30 minutes.
HARD_TIME_LIMIT_SECONDS = 20 * 60


class WorkerApp(Celery):
    """Celery's application with the parts that `consumers.worker.chores` reads."""

    circuit: Circuit
    counters: DeliveryCounters


def make_celery(settings: Settings, pool: str) -> WorkerApp:
    """The application of one pool's worker, with its tasks. Nothing connects yet. Raises StepCodeError."""
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
    step_classes = {step: step_class(step) for step in steps_of(pool)}
    reports, child = ReportPipe(), ChildProcess(settings, pool, step_classes)
    app.circuit = Circuit(probes_of(step_classes, settings))
    app.counters = DeliveryCounters(reports, pool, POOLS[pool].concurrency)
    for step in step_classes:
        add_task(app, step, child, reports)
    return app


def run_worker(pool: str, settings: Settings) -> None:
    """Run one pool's worker until SIGTERM. Deliveries that run are finished, prefetched messages go back.

    Ends the process, with an exit code other than 0 if Celery failed. Raises StepCodeError.
    """
    configure_logging(settings, f"worker-{pool}")
    use_our_log()
    amqp_messages.install(amqp_messages.ReadableMessage)
    if settings.worker_http_port:
        endpoint = MetricsEndpoint(settings)
        worker_ready.connect(endpoint.serve, weak=False)
        worker_process_init.connect(endpoint.leave, weak=False)  # the first of its receivers
    app = make_celery(settings, pool)
    _import_before_forking(settings, {step: step_class(step) for step in steps_of(pool)})
    bind_at_start(settings, pool)
    # Not by `worker_main`: it would load Celery's whole command line with its shell, a fifth of the worker's start.
    worker = app.Worker(
        hostname=host_format(f"waybill-{pool}@%h"),
        loglevel=settings.log_level,
        quiet=True,  # its banner is no log line
        no_color=True,
        without_gossip=True,
        without_mingle=True,
    )
    worker.start()
    raise SystemExit(worker.exitcode)


def _import_before_forking(settings: Settings, step_classes: Mapping[Step, type[StepKind]]) -> None:
    """Import now the modules that are imported at first use, so that children share them: 1 s of CPU each otherwise.

    They are the database dialect, the HTTP client with its event loop backend, and the tracer. Nothing connects.
    """

    async def open_and_close() -> None:
        ctx = open_context(settings, "waybill-worker")
        steps = [step_class.open(settings) for step_class in step_classes.values()]
        for step in steps:
            await step.close()
        await ctx.close()

    anyio.run(open_and_close)  # which imports the HTTP client's event loop backend
    if settings.tracing_otlp_url:
        with contextlib.suppress(Exception):  # each child logs why
            import_module("runtime.tracing.otlp")
