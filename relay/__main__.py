"""Process of the relay: it runs sessions (`relay.session`) until SIGTERM, which ends it with every event accounted for.

Sessions follow each other. After any end, the next session starts from the cursor, after a pause that grows while
sessions fail at once. Two threads run beside the event loop and do not depend on it: `relay.health.monitor` reads from
Postgres how far behind the outbox is, and `relay.health.endpoint` answers probes over HTTP.
"""

import asyncio
import contextlib
import signal

import uvloop

from outbox.cursor.cluster_adoption import AdoptionError
from outbox.cursor.reader import FencedError
from relay.connections import DATABASE_ERRORS
from relay.health import metrics
from relay.health.endpoint import Probes
from relay.health.liveness import Liveness, RelayStatus
from relay.health.monitor import Monitor
from relay.leadership import RenewalError, holder
from relay.maintenance.required_queues import QueuesMissingError
from relay.publisher import PublisherLostError
from relay.session import InRecoveryError, Session
from runtime.logging import configure_logging, get_logger
from runtime.loops import Backoff, sleep_until
from runtime.settings import Settings, load_settings
from runtime.tracing import tracer

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0

log = get_logger(__name__)


class Relay:
    """Sessions, one after another, until stopped."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = asyncio.Event()
        self._me = holder()
        self._queues_complete = True
        self.liveness = Liveness()

    def stop(self) -> None:
        """Wait for the confirms in flight, hand over, return from `run`."""
        self._stopping.set()

    async def run(self) -> None:
        """Lead, or stand by for another leader, until stopped."""
        beating = asyncio.create_task(self.liveness.beat())
        backoff = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        while not self._stopping.is_set():
            started = asyncio.get_running_loop().time()
            await self._session()
            if asyncio.get_running_loop().time() - started > LONGEST_PAUSE_SECONDS:
                backoff.reset()
            await sleep_until(self._stopping, backoff.next())
        beating.cancel()

    async def _session(self) -> None:
        try:
            await Session(
                self._settings, self._stopping, self.liveness, self._me, queues_complete=self._queues_complete
            ).run()
        except* InRecoveryError:
            metrics.SESSIONS_ENDED.labels("recovery").inc()
            log.error(  # noqa: TRY400 - the trace adds nothing
                "database_in_recovery", remedy="let DATABASE_URL lead to the primary, or promote this server"
            )
        except* (PublisherLostError, FencedError, RenewalError, AdoptionError, *DATABASE_ERRORS) as group:
            errors = _leaves(group)
            self._queues_complete = not any(isinstance(error, QueuesMissingError) for error in errors)
            for kind in {_kind(error) for error in errors}:
                metrics.SESSIONS_ENDED.labels(kind).inc()
            described = "; ".join(f"{type(error).__name__}: {error}" for error in errors)
            self.liveness.status = RelayStatus("none", described)
            log.warning("session_ended", error=described)
        finally:
            metrics.not_leading()


def _leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    """The single errors that ended a session, also those in nested groups."""
    leaves: list[Exception] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves


def _kind(error: Exception) -> str:
    """The value of the label `reason` for a session's end."""
    if isinstance(error, FencedError):
        return "fenced"
    return "broker" if isinstance(error, PublisherLostError) else "database"


async def _main(settings: Settings) -> None:
    relay = Relay(settings)
    loop = asyncio.get_running_loop()
    for stop_signal in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(stop_signal, relay.stop)
    with contextlib.ExitStack() as stack:
        stack.enter_context(Monitor(settings))
        if settings.relay_http_port:
            stack.enter_context(Probes(relay.liveness, settings.relay_http_host, settings.relay_http_port))
        await relay.run()


def main() -> None:
    """Run the relay until SIGTERM."""
    settings = load_settings()
    configure_logging(settings, "relay")
    tracer.set_up(settings, "relay")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_main(settings))
    finally:
        tracer.shut_down()


if __name__ == "__main__":
    main()
