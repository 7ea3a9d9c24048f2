"""`waybill`: every process, every chore and every question, as one command line.

Each command imports what it runs when it runs, so that `--help` answers at once. Errors that a person can do something
about end in one line on stderr: exit code 2 for unusable settings, 1 for the rest.
"""

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.audit_command import orders_audit
from ops.dead_letters_cli import dead_letters_app
from ops.endings import end as _end
from ops.endings import guarded as _guarded

if TYPE_CHECKING:
    from runtime.settings import Settings

# Options of the sandboxes are defined by the sandboxes: pass them on as they are.
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
app = typer.Typer(
    name="waybill",
    help="Waybill: orders whose every effect really happens, once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
topology_app = typer.Typer(help="Exchanges and queues.", no_args_is_help=True)
sandbox_app = typer.Typer(help="Stand-ins for the outside world.", no_args_is_help=True)
orders_app = typer.Typer(help="Orders.", no_args_is_help=True)
app.add_typer(topology_app, name="topology")
app.add_typer(sandbox_app, name="sandbox")
app.add_typer(orders_app, name="orders")
app.add_typer(dead_letters_app, name="dead-letters")


class Pool(StrEnum):
    """The worker pools of `orders.workflow`, which a test holds equal to this list."""

    LOCAL = "local"
    SAP = "sap"
    EMAIL = "email"
    INVOICE = "invoice"


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
def worker(pool: Annotated[Pool, typer.Argument(help="which steps it runs: see orders/workflow.py")]) -> None:
    """Run the steps of one pool until SIGTERM, then finish what is at work."""
    settings = _settings(f"worker-{pool.value}")
    from consumers.app import run_worker

    run_worker(pool.value, settings)


@app.command()
def collector() -> None:
    """Move what was given up into the table of dead letters, and tell of it, until SIGTERM."""
    settings = _settings("collector")
    from consumers.collector_process import FiguresError, run_collector

    try:
        run_collector(settings)
    except FiguresError as error:
        _end(str(error), 1)


@sandbox_app.command("sap", context_settings=PASS_ON, add_help_option=False)
def sandbox_sap(context: typer.Context) -> None:
    """A SAP system that speaks API_SALES_ORDER_SRV, keeps a ledger, and fails on demand (`--help`)."""
    from sandbox.sap_main import run

    _pass_on(run, "waybill sandbox sap", context.args)


@sandbox_app.command("smtp", context_settings=PASS_ON, add_help_option=False)
def sandbox_smtp(context: typer.Context) -> None:
    """An SMTP server that keeps each message, with a view of them over HTTP (`--help`)."""
    from sandbox.smtp_main import run

    _pass_on(run, "waybill sandbox smtp", context.args)


def _pass_on(run: Callable[..., None], name: str, words: list[str]) -> None:
    own = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    own.command()(run)
    own(args=words, prog_name=name)


@app.command()
def demo(
    orders: Annotated[int, typer.Option(help="how many generated orders", min=1)] = 500,
    orders_dir: Annotated[
        Path | None, typer.Option(help="a folder in Northwind's layout instead of generated orders")
    ] = None,
) -> None:
    """Start a fresh system, send orders through it, show what happened, stop everything again."""
    from ops.demo import run_demo

    raise typer.Exit(_guarded(run_demo, orders=orders, orders_dir=orders_dir) or 0)


@app.command()
def prove(
    *,
    quick: Annotated[bool, typer.Option(help="400 orders in a minute and a half instead of 3,000 in eight")] = False,
    seed: Annotated[
        int | None, typer.Option(help="the same faults again; none: a random seed, which is printed")
    ] = None,
    orders: Annotated[int | None, typer.Option(help="how many orders instead", min=1)] = None,
) -> None:
    """Submit orders while everything fails at random, heal it, and prove that nothing is lost or done twice."""
    import secrets

    from ops.prove import proof
    from ops.prove.run import prove as run

    seed = secrets.randbelow(1_000_000) if seed is None else seed
    size = proof.QUICK_ORDERS if quick else proof.FULL_ORDERS
    plan = (proof.quick if quick else proof.full)(seed, orders or size)
    raise typer.Exit(_guarded(run, plan) or 0)


@app.command()
def soak(
    minutes: Annotated[float, typer.Option(help="how long orders are sent", min=0.5)] = 10,
) -> None:
    """Send 10 orders a second through a fresh system for minutes and see whether backlog or memory grows."""
    from ops.soak import run_soak

    raise typer.Exit(_guarded(run_soak, minutes) or 0)


@app.command()
def observe() -> None:
    """Send orders and faults through a fresh system, and hold metrics, alerts and dashboards to the truth."""
    from ops.observe.run import run_observe

    raise typer.Exit(_guarded(run_observe) or 0)


@app.command()
def up() -> None:
    """Start the whole system in the background and say where it answers."""
    from ops.show import show_up

    _guarded(show_up)


@app.command()
def down() -> None:
    """Stop the system of `waybill up`; its data stays."""
    from ops.show import show_down

    _guarded(show_down)


@app.command()
def status() -> None:
    """Each program of `waybill up` with its state; exit code 1 when one does not run."""
    from ops.show import show_status

    raise typer.Exit(_guarded(show_status))


@app.command()
def restart(program: Annotated[str, typer.Argument(help="its name in `make status`, such as worker-sap")]) -> None:
    """Stop one program of `waybill up` and start it again, with the settings it had."""
    from ops.show import show_restart

    _guarded(show_restart, program)


@app.command()
def env() -> None:
    """Print `export` lines for a shell to speak to the system of `waybill up`: eval "$(waybill env)"."""
    from ops.show import show_env

    _guarded(show_env)


@app.command()
def doctor() -> None:
    """Say what is reachable, in which version, and which settings could lose messages; exit code 1 if any."""
    from ops.show import show_doctor

    raise typer.Exit(_guarded(show_doctor))


@orders_app.command("show")
def orders_show(
    order: Annotated[str, typer.Argument(help="its id, its number (WB-…) or its client's reference")],
) -> None:
    """One order: what it is, how far each step has come, its story, and what it waits for."""
    from ops.order_view import show_order

    _guarded(show_order, order)


orders_app.command("audit")(orders_audit)


def main() -> None:
    """Run the command line."""
    app(prog_name="waybill" if sys.argv[0].endswith("cli.py") else None)


if __name__ == "__main__":
    main()
