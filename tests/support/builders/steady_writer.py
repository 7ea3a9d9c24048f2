"""A writer that commits a few events every few milliseconds, in its own thread, also while the database is away."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from outbox.envelope import Event
from tests.support.builders.events import new_event
from tests.support.deadlines import ANSWER_SECONDS
from tests.support.probes.database import committed, engine_of

PAUSE_SECONDS = 0.01
SUBJECTS = 20
BATCH = 5


class SteadyWriter:
    """`committed` are the events whose COMMIT returned, in that order; the fate of others is unknown."""

    def __init__(self, database_url: str, name: str, event_type: str) -> None:
        self._database_url = database_url
        self._subjects = [f"{name}-{number}" for number in range(SUBJECTS)]
        self._type = event_type
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._write()), name=name)
        self.committed: list[Event] = []

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> list[Event]:
        """Finish the transaction that is under way; returns the committed events."""
        self._stopping.set()
        self._thread.join(ANSWER_SECONDS)
        assert not self._thread.is_alive(), f"{self._thread.name} hangs"
        return self.committed

    def wait_for(self, more: int) -> None:
        """Return once so many events more than now are committed."""
        wanted, deadline = len(self.committed) + more, time.monotonic() + ANSWER_SECONDS
        while len(self.committed) < wanted:
            assert time.monotonic() < deadline, f"{self._thread.name} committed {len(self.committed)} of {wanted}"
            time.sleep(0.005)

    async def _write(self) -> None:
        turn = 0
        async with engine_of(self._database_url) as engine:
            while not self._stopping.is_set():
                subjects = [self._subjects[(turn + n) % SUBJECTS] for n in range(BATCH)]
                events = [new_event(subject, type=self._type) for subject in subjects]
                turn += BATCH
                try:
                    await committed(engine, events)
                    self.committed += events
                except (OSError, SQLAlchemyError):
                    pass  # down, or died before it answered the COMMIT
                await asyncio.sleep(PAUSE_SECONDS)


@contextmanager
def writing(database_url: str, *names: str, event_type: str = "order.placed") -> Iterator[list[SteadyWriter]]:
    """Running writers, each with subjects of its own; stopped afterwards."""
    writers = [SteadyWriter(database_url, name, event_type) for name in names]
    for writer in writers:
        writer.start()
    try:
        yield writers
    finally:
        for writer in writers:
            writer.stop()
