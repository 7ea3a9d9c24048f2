"""`waybill`: the command line that ships. Every process, and every operator's command.

Each command imports what it runs when it runs, so that `--help` answers at once. Errors that a person can do something
about end in one line on stderr: exit code 2 for unusable settings, 1 for the rest.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.choices import one_of
from ops.cli.dead_letters import dead_letters_app
from ops.cli.exits import end as _end
from ops.cli.exits import guarded as _guarded
from ops.cli.orders_audit import orders_audit
from orders.workflow import POOLS

if TYPE_CHECKING:
    from runtime.settings import Settings

app = typer.Typer(
    name="waybill",
    help="Waybill: orders whose every effect really happens, once.",
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
    """The settings, with logging set up for a process of this name; ends the program when they are unusable."""
    from runtime.logging import configure_logging
    from runtime.settings import SettingsError, load_settings

    try:
        settings = load_settings()
    except SettingsError as error:
        _end(str(error), 2)
    configure_logging(settings, process)
    return settings


def _settings_in_question(process: str) -> "Settings":
    """The settings of whichever system is meant, which is said; ends the program where there is none."""
    from ops.target import name_of_system, settings_in_question
    from runtime.logging import configure_logging

    settings = _guarded(settings_in_question)
    configure_logging(settings, process)
    typer.echo(f"{process}: {name_of_system()}")
    return settings


@app.command()
def migrate() -> None:
    """Apply the migrations that are missing, then exit."""
    from asyncpg import InterfaceError, PostgresError
    from sqlalchemy.exc import SQLAlchemyError

    from migrations.upgrade import upgrade

    try:
        upgrade(_settings_in_question("migrate").database_url)
    except (OSError, ValueError, PostgresError, InterfaceError, SQLAlchemyError) as error:
        _end(f"cannot migrate the database: {str(error).splitlines()[0]}", 1)


@topology_app.command("apply")
def topology_apply() -> None:
    """Declare exchanges and queues and note which of them are required, then exit."""
    import asyncio

    from consumers.topology import TopologyError, apply

    try:
        applied = asyncio.run(apply(_settings_in_question("topology")))
    except TopologyError as error:
        _end(str(error), 1)
    typer.echo(
        f"{len(applied.exchanges)} exchanges and {len(applied.queues)} queues stand: {', '.join(applied.queues)}"
    )


@app.command()
def api() -> None:
    """Serve the HTTP API on API_HOST:API_PORT."""
    from api.app import run

    run(_settings("api"))


@app.command()
def relay() -> None:
    """Carry recorded events to RabbitMQ until SIGTERM."""
    _settings("relay")
    from relay.__main__ import main

    main()


@app.command()
def worker(
    pool: Annotated[str, typer.Argument(parser=one_of(POOLS), metavar="POOL", help=f"one of {', '.join(POOLS)}")],
) -> None:
    """Run the steps of one pool until SIGTERM; then finish the steps that have begun."""
    settings = _settings(f"worker-{pool}")
    from consumers.worker.app import run_worker

    run_worker(pool, settings)


@app.command()
def collector() -> None:
    """Move what was given up into the table of dead letters, and tell of it, until SIGTERM."""
    settings = _settings("collector")
    from consumers.collector.process import FiguresError, run_collector

    try:
        run_collector(settings)
    except FiguresError as error:
        _end(str(error), 1)


@app.command()
def doctor() -> None:
    """Say what is reachable, in which version, and which settings could lose messages; exit code 1 if any."""
    from ops.cli.doctor import show_doctor

    raise typer.Exit(_guarded(show_doctor))


@orders_app.command("show")
def orders_show(
    order: Annotated[str, typer.Argument(help="its id, its number (WB-…) or its client's reference")],
) -> None:
    """One order: what it is, how far each step has come, its story, and what it waits for."""
    from ops.cli.orders_show import show_order

    _guarded(show_order, order)


orders_app.command("audit")(orders_audit)


def main() -> None:
    """Run the command line."""
    app(prog_name="waybill")
