"""`waybill`, the command line that ships: it starts every process and holds the operator's commands.

Each command imports its code when it runs, so that `--help` answers at once. An error that the operator can correct is
one line on stderr: exit code 2 for unusable settings or options, 1 for all others.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.choices import one_of
from ops.cli.dead_letters import dead_letters_app
from ops.cli.exits import end, exit_with, guarded
from ops.cli.orders_audit import orders_audit
from orders.workflow import POOLS

if TYPE_CHECKING:
    from runtime.settings import Settings

app = typer.Typer(
    name="waybill",
    help="Waybill: takes orders and makes every effect of each happen, once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
topology_app = typer.Typer(help="Exchanges and queues.", no_args_is_help=True)
orders_app = typer.Typer(help="Orders.", no_args_is_help=True)
app.add_typer(topology_app, name="topology")
app.add_typer(orders_app, name="orders")
app.add_typer(dead_letters_app, name="dead-letters")


def _settings(process: str) -> "Settings":
    """The settings, with logging configured for a process of this name. Unusable settings end the program."""
    from runtime.logging import configure_logging
    from runtime.settings import SettingsError, load_settings

    try:
        settings = load_settings()
    except SettingsError as error:
        end(str(error), 2)
    configure_logging(settings, process)
    return settings


def _target_settings(process: str) -> "Settings":
    """The settings of the target system, whose name is printed. Without a target the program ends."""
    from ops.target import target_name, target_settings
    from runtime.logging import configure_logging

    settings = guarded(target_settings)
    configure_logging(settings, process)
    typer.echo(f"{process}: {target_name()}")
    return settings


@app.command()
def migrate() -> None:
    """Apply the missing migrations, then exit."""
    from asyncpg import InterfaceError, PostgresError
    from sqlalchemy.exc import SQLAlchemyError

    from migrations.upgrade import upgrade

    try:
        upgrade(_target_settings("migrate").database_url)
    except (OSError, ValueError, PostgresError, InterfaceError, SQLAlchemyError) as error:
        end(f"cannot migrate the database: {(str(error) or type(error).__name__).splitlines()[0]}", 1)


@topology_app.command("apply")
def topology_apply() -> None:
    """Declare the exchanges and queues and record the required ones in the database, then exit."""
    import asyncio

    from consumers.topology import TopologyError, apply

    try:
        applied = asyncio.run(apply(_target_settings("topology")))
    except TopologyError as error:
        end(str(error), 1)
    typer.echo(
        f"{len(applied.exchanges)} exchanges and {len(applied.queues)} queues exist: {', '.join(applied.queues)}"
    )


@app.command()
def api() -> None:
    """Serve the HTTP API on API_HOST:API_PORT."""
    from api.app import run

    run(_settings("api"))


@app.command()
def relay() -> None:
    """Publish recorded events to RabbitMQ until SIGTERM."""
    _settings("relay")
    from relay.__main__ import main

    main()


@app.command()
def worker(
    pool: Annotated[str, typer.Argument(parser=one_of(POOLS), metavar="POOL", help=f"one of {', '.join(POOLS)}")],
) -> None:
    """Run the steps of one pool until SIGTERM; then finish the steps that have begun."""
    settings = _settings(f"worker-{pool}")
    from consumers.steps.load import StepCodeError
    from consumers.worker.app import run_worker

    try:
        run_worker(pool, settings)
    except StepCodeError as error:
        end(str(error), 1)


@app.command()
def collector() -> None:
    """Move messages from the dead-letter queues into the table of dead letters, and send alerts, until SIGTERM."""
    settings = _settings("collector")
    from consumers.collector.process import MetricsServerError, run_collector

    try:
        run_collector(settings)
    except MetricsServerError as error:
        end(str(error), 1)


@app.command()
def doctor() -> None:
    """Check servers, versions, queues and settings; exit code 1 if a finding is bad."""
    from ops.cli.doctor import show_doctor

    exit_with(show_doctor)


@orders_app.command("show")
def orders_show(
    order: Annotated[str, typer.Argument(help="its id, its number (WB-…) or its client's reference")],
) -> None:
    """Show one order: its facts, the progress of each step, its timeline, and the steps that it waits for."""
    from ops.cli.orders_show import show_order

    guarded(show_order, order)


orders_app.command("audit")(orders_audit)


def main() -> None:
    """Run the command line."""
    app(prog_name="waybill")
