"""The real collector as a process of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes.program import RunningProgram, program


@contextmanager
def collector(database_url: str, amqp_url: str, folder: Path, **settings: object) -> Iterator[RunningProgram]:
    """`waybill collector` on these servers; `settings` are variables. Killed at the end of the block."""
    given = {name.upper(): value for name, value in settings.items()}
    variables = {**given, "DATABASE_URL": database_url, "AMQP_URL": amqp_url}
    with program("collector", folder, ("-m", "ops.cli", "collector"), variables) as running:
        yield running
