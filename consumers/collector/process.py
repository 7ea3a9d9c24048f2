"""Process of the collector: it empties the dead-letter queues, sends alerts and serves its metrics, until SIGTERM.

Its loops (`sweep`, `refresh`, `alerts`, and the count of open dead letters here) share nothing but the database's pool:
a webhook that hangs delays no dead letter.
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
from outbox.dead_letters.still_open import open_by_queue
from runtime.database import make_engine
from runtime.logging import configure_logging, get_logger
from runtime.loops import keep_running
from runtime.metrics_server import log_scrape_error
from runtime.settings import Settings

COUNT_SECONDS = 5.0

log = get_logger(__name__)


class MetricsServerError(Exception):
    """The metrics cannot be served; the message names the address and its settings."""


def run_collector(settings: Settings) -> None:
    """Collect until SIGTERM; the running batch is finished first. Raises MetricsServerError."""
    configure_logging(settings, "collector")
    with serving(settings), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(settings))


@contextlib.contextmanager
def serving(settings: Settings) -> Iterator[None]:
    """Serve the metrics, if a port is set. Raises MetricsServerError."""
    if not settings.collector_http_port:
        yield
        return
    host, port = settings.collector_http_host, settings.collector_http_port
    try:
        server, thread = start_http_server(port, addr=host)
    except OSError as error:
        raise MetricsServerError(
            f"cannot listen on {host}:{port} (COLLECTOR_HTTP_HOST, COLLECTOR_HTTP_PORT): {error}"
        ) from error
    server.handle_error = log_scrape_error  # type: ignore[method-assign]
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def count_open(engine: AsyncEngine, stopping: asyncio.Event) -> None:
    """Refresh the gauges of open dead letters until stopped; they keep their values while Postgres is away."""

    async def count() -> None:
        try:
            await count_once(engine)
        except Exception as error:  # noqa: BLE001 - a failing gauge must not end the collector
            log.warning("dead_letters_not_counted", error=type(error).__name__)

    await keep_running(count, COUNT_SECONDS, stopping)


async def count_once(engine: AsyncEngine) -> None:
    """Read how many dead letters are open and when the newest was stored, by this process or by another."""
    async with engine.begin() as tx:
        waiting = await open_by_queue(tx)
    # A reason that only a later version knows has no series here, and must not break the others.
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
