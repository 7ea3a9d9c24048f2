"""The collector as a process: it empties the dead-letter queues, tells people, and serves its figures, until SIGTERM.

Its loops share nothing but the database's pool: a webhook that hangs holds up no dead letter.
"""

import asyncio
import contextlib
import signal
from collections import defaultdict
from collections.abc import Iterator

import uvloop
from prometheus_client import start_http_server
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.collector import metrics
from consumers.collector.alerts import Alerts
from consumers.collector.refresh import watch_orders
from consumers.collector.sweep import Collector
from outbox.dead_letters.queries import open_by_queue
from runtime.database import make_engine
from runtime.logging import configure_logging, get_logger
from runtime.metrics_server import unanswered
from runtime.settings import Settings

COUNT_SECONDS = 5.0

log = get_logger(__name__)


class FiguresError(Exception):
    """The figures cannot be served; the text names the address and its settings."""


def run_collector(settings: Settings) -> None:
    """Collect until SIGTERM; a batch at work is finished. Raises FiguresError."""
    configure_logging(settings, "collector")
    with serving(settings), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(settings))


@contextlib.contextmanager
def serving(settings: Settings) -> Iterator[None]:
    """Serve the figures, where a port is set. Raises FiguresError."""
    if not settings.collector_http_port:
        yield
        return
    host, port = settings.collector_http_host, settings.collector_http_port
    try:
        server, thread = start_http_server(port, addr=host)
    except OSError as error:
        raise FiguresError(
            f"cannot listen on {host}:{port} (COLLECTOR_HTTP_HOST, COLLECTOR_HTTP_PORT): {error}"
        ) from error
    server.handle_error = unanswered  # type: ignore[method-assign]
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def count_open(engine: AsyncEngine, stopping: asyncio.Event) -> None:
    """Keep the figures of open dead letters true until stopped; they stand still while Postgres is away."""
    while not stopping.is_set():
        try:
            await count_once(engine)
        except Exception as error:  # noqa: BLE001 - a figure is no reason to collect nothing
            log.warning("dead_letters_not_counted", reason=type(error).__name__)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), COUNT_SECONDS)


async def count_once(engine: AsyncEngine) -> None:
    """Read how many dead letters are open and how new the newest is: that tells of it, whoever stored it and ended then."""
    async with engine.begin() as tx:
        waiting = await open_by_queue(tx)
    # A reason that only a later version knows has no series here, and must not keep the others from being told.
    dead_letters, newest = defaultdict[tuple[str, str], int](int), defaultdict[tuple[str, str], float](float)
    for one in waiting:
        label = metrics.queue_label(one.queue), one.reason
        dead_letters[label] += one.dead_letters
        newest[label] = max(newest[label], one.newest_at.timestamp())
    for label in metrics.LABELS:
        metrics.DEAD_LETTERS_OPEN.labels(*label).set(dead_letters[label])
        metrics.DEAD_LETTERS_NEWEST.labels(*label).set(newest[label])
    metrics.ORDERS_WATCHED.labels("dead_letters").set_to_current_time()


async def _main(settings: Settings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for stop_signal in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(stop_signal, stopping.set)
    engine = make_engine(settings, "waybill-collector")
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(Collector(settings, engine, stopping).run())
            group.create_task(count_open(engine, stopping))
            group.create_task(watch_orders(engine, stopping))
            if settings.alert_webhook_url is not None and settings.alert_webhook_url.get_secret_value():
                group.create_task(Alerts(settings, engine, stopping).run())
            log.info("collecting")
    finally:
        await engine.dispose()
    log.info("collector_stopped")
