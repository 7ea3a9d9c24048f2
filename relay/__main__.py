"""Build the relay, run it, stop it on SIGTERM with nothing in flight forgotten.

Sessions follow each other: whatever ended one, the next begins from the cursor after a pause that grows while sessions
fail at once. Two threads stand beside the loop and do not depend on it: the monitor, which asks Postgres how far
behind the outbox is, and the probes, which answer over HTTP.
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
from relay.health.liveness import Standing, Vitals
from relay.health.monitor import Monitor
from relay.leadership import RenewalError, holder
from relay.maintenance.partitions import QueuesMissingError
from relay.publisher import PublisherLostError
from relay.session import InRecoveryError, Session
from runtime.logging import configure_logging, get_logger
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
        self.vitals = Vitals()

    def stop(self) -> None:
        """Finish what is in flight, hand over, return from `run`."""
        self._stopping.set()

    async def run(self) -> None:
        """Lead and carry, or wait for the leader to go, until stopped."""
        beating = asyncio.create_task(self.vitals.beat())
        pause = FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            started = asyncio.get_running_loop().time()
            await self._session()
            if asyncio.get_running_loop().time() - started > LONGEST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        beating.cancel()

    async def _session(self) -> None:
        try:
            await Session(
                self._settings, self._stopping, self.vitals, self._me, queues_complete=self._queues_complete
            ).run()
        except* InRecoveryError:
            metrics.SESSIONS_ENDED.labels("recovery").inc()
            log.error(  # noqa: TRY400 - its trace says nothing more
                "database_in_recovery", do="let DATABASE_URL lead to the primary, or promote this server"
            )
        except* (PublisherLostError, FencedError, RenewalError, AdoptionError, *DATABASE_ERRORS) as group:
            reasons = _leaves(group)
            self._queues_complete = not any(isinstance(error, QueuesMissingError) for error in reasons)
            for kind in {_kind(error) for error in reasons}:
                metrics.SESSIONS_ENDED.labels(kind).inc()
            waits_for = "; ".join(f"{type(error).__name__}: {error}" for error in reasons)
            self.vitals.standing = Standing("none", waits_for)
            log.warning("session_ended", reasons=[f"{type(error).__name__}: {error}" for error in reasons])
        finally:
            metrics.not_leading()


def _leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    """What ended a session, also from the group within the group."""
    leaves: list[Exception] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves


def _kind(error: Exception) -> str:
    """The label of a session's end."""
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
            stack.enter_context(Probes(relay.vitals, settings.relay_http_host, settings.relay_http_port))
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
