"""The skeleton of a trial: a fresh system, a workload sent through it, and a last line of JSON.

`lab demo`, `soak`, `prove` and `observe` are trials. Each of them adds only what it sends, which faults it injects and
how it judges the outcome; the rest is here:

    console()    where a trial prints
    run()        starts a fresh system, loads the catalogue, awaits the trial's own part, stops the system
    Trial        the running system: prints progress, sends orders, waits until they are finished, audits them
    conclude()   after a failure names the folder of the logs; prints the JSON line; returns the exit code

The JSON object is always the last line, so that a program can read it; it is printed when the system has stopped.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from sqlalchemy.ext.asyncio import AsyncEngine

from lab.effects import audit_effects
from lab.stack.commands import LOCAL
from lab.stack.errors import StackError
from lab.stack.instance import Instance
from lab.stack.local import EVERYTHING, LocalStack
from lab.stack.options import DEFAULT_OPTIONS, StackOptions
from lab.workload.catalogue import load_catalogue
from lab.workload.expectations import Workload
from lab.workload.progress import meter
from lab.workload.submission import Accepted, submit
from lab.workload.wait import NO_PROGRESS_SECONDS, Stuck, wait_audited, wait_finished
from ops.audit.report import AuditReport
from orders.model import NewOrder
from runtime.database import make_engine
from runtime.settings import Settings

T = TypeVar("T")

PLAIN_WIDTH = 110  # columns of a console that is no terminal
LATE_SECONDS = 1  # the SAP sandbox commits late by this much at most
# A production SAP needs a minute until a late commit is certain, this sandbox a second. Retries follow each other
# within seconds, because a person waits for the trial.
SHORT_WAITS = {
    "SAP_COMMIT_SECONDS": str(LATE_SECONDS + 1),
    "SAP_RETRY_BASE_SECONDS": "1",
    "SAP_TIMEOUT_SECONDS": "10",
    "RETRY_BASE_SECONDS": "0.5",
}


def sap_options(*, seed: int, error_rate: float, lost_rate: float) -> tuple[str, ...]:
    """Options of the SAP sandbox: the share of calls that fail, and of answers that are lost after the commit."""
    return (
        *("--seed", str(seed)),
        *("--error-rate", str(error_rate)),
        *("--lost-rate", str(lost_rate)),
        *("--late-seconds", str(LATE_SECONDS)),
    )


@dataclass(frozen=True, slots=True)
class Setup:
    """How a trial's system is started.

    `environment` holds settings for every process, `sandbox_options` options of the SAP sandbox. A trial that
    `needs_prometheus` fails without it; the others only say that it is missing.
    """

    name: str
    workload: Workload
    environment: Mapping[str, str]
    sandbox_options: Sequence[str] = ()
    stack_options: StackOptions = DEFAULT_OPTIONS
    folder: Path | None = None
    needs_prometheus: bool = False

    @property
    def instance_folder(self) -> Path:
        """Where the system's data and logs are: below .local unless a folder is given."""
        return self.folder or LOCAL / self.name


class Trial:
    """One running system with the workload that it is for. `started_at` is when its catalogue was loaded."""

    def __init__(self, setup: Setup, stack: LocalStack, engine: AsyncEngine, console: Console) -> None:
        self.stack = stack
        self.engine = engine
        self.console = console
        self.workload = setup.workload
        self.started_at = datetime.now(UTC)
        self._clock_started = time.monotonic()

    def restart_clock(self) -> None:
        """Count the seconds that `say` prints from now on."""
        self._clock_started = time.monotonic()

    def say(self, text: str) -> None:
        """Print one line on how far the trial is, with the seconds since the clock was started."""
        self.console.print(f"{time.monotonic() - self._clock_started:6.1f} s  {text}", markup=False, soft_wrap=True)

    async def send(self, orders: Sequence[NewOrder]) -> list[Accepted]:
        """POST orders as fast as the API takes them, with a progress meter. Raises SubmissionError."""
        with meter(self.console, "Accepted", len(orders)) as show:
            return await submit(self.stack.api_url, orders, show)

    async def wait_finished(self, count: int, no_progress_seconds: float = NO_PROGRESS_SECONDS) -> list[Stuck]:
        """Wait until `count` orders are finished and every event is in the audit log; returns orders that are stuck."""
        with meter(self.console, "Finished", count) as show:
            stuck = await wait_finished(self.engine, count, show, no_progress_seconds)
        if not stuck:
            await wait_audited(self.engine)
        return stuck

    async def audit(self) -> AuditReport:
        """The completeness audit of every order of this trial; an effect that is missing now counts as overdue."""
        return await audit_effects(self.engine, self.stack, self.workload, self.started_at)


def console() -> Console:
    """The terminal, or plain lines of a fixed width where there is none."""
    plain = Console(highlight=False)
    if not plain.is_terminal:
        plain.width = PLAIN_WIDTH
    return plain


def run(setup: Setup, out: Console, body: Callable[[Trial], Awaitable[T]]) -> T:
    """Start a fresh system, await `body` on it, and stop the system also after an error. Raises OpsError."""
    out.print(f"Starting {EVERYTHING}", soft_wrap=True)
    with LocalStack.fresh(
        setup.instance_folder, setup.environment, setup.sandbox_options, setup.stack_options
    ) as stack:
        if stack.prometheus_error and setup.needs_prometheus:
            raise StackError(stack.prometheus_error)
        if stack.prometheus_error:
            out.print(escape(stack.prometheus_error), style="yellow", soft_wrap=True)
        return asyncio.run(_run(setup, stack, out, body))


async def _run(setup: Setup, stack: LocalStack, out: Console, body: Callable[[Trial], Awaitable[T]]) -> T:
    settings = Settings(database_url=stack.database_url, amqp_url=stack.amqp_url)
    engine = make_engine(settings, f"lab {setup.name}")
    try:
        async with engine.begin() as tx:
            await load_catalogue(tx, setup.workload)
        await engine.dispose()  # `lab prove` kills Postgres: no connection from before the faults is used after them
        return await body(Trial(setup, stack, engine, out))
    finally:
        await engine.dispose()


def json_line(figures: Mapping[str, object]) -> str:
    """Figures as one line of JSON."""
    return json.dumps(figures, separators=(",", ":"))


def conclude(setup: Setup, out: Console, line: str, *, passed: bool) -> int:
    """Print the last lines of a trial; returns its exit code."""
    if not passed:
        out.print(f"The logs are in {escape(str(Instance(setup.instance_folder).logs))}", soft_wrap=True)
    typer.echo(line)
    return 0 if passed else 1
