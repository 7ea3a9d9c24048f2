"""The real relay as a process of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes.program import RunningProgram, program

# No pause of the machine ends a term this long. A test that kills a leader and waits for the next sets a shorter one.
LEASE_SECONDS = 10


@contextmanager
def relay(database_url: str, amqp_url: str, folder: Path, **settings: object) -> Iterator[RunningProgram]:
    """A relay on these servers; `settings` are RELAY_ variables. Killed at the end of the block."""
    variables = {
        "RELAY_LEASE_SECONDS": LEASE_SECONDS,
        **{f"RELAY_{name}".upper(): value for name, value in settings.items()},
        "DATABASE_URL": database_url,
        "AMQP_URL": amqp_url,
    }
    with program("relay", folder, ("-m", "relay"), variables) as running:
        yield running
