"""`lab`, the command line that never ships: a whole system on this machine, and the trials of it.

The make targets call it. Each command imports its code when it runs, so that `--help` answers at once. An error that
the user can correct is one line on stderr, as in `waybill`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ops.cli.exits import exit_with

# Options of the sandboxes are defined by the sandboxes: pass them on as they are.
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
app = typer.Typer(
    name="lab",
    help="A whole Waybill on this machine: start it, try it, measure it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
sandbox_app = typer.Typer(help="Stand-ins for SAP and the mail server.", no_args_is_help=True)
app.add_typer(sandbox_app, name="sandbox")


@sandbox_app.command("sap", context_settings=PASS_ON, add_help_option=False)
def sandbox_sap(context: typer.Context) -> None:
    """Run a SAP stand-in that serves API_SALES_ORDER_SRV, keeps a ledger, and fails on demand (`--help`)."""
    from lab.sandbox.sap.main import run

    _pass_on(run, "lab sandbox sap", context.args)


@sandbox_app.command("smtp", context_settings=PASS_ON, add_help_option=False)
def sandbox_smtp(context: typer.Context) -> None:
    """Run an SMTP server that stores each message and shows the messages over HTTP (`--help`)."""
    from lab.sandbox.mail.main import run

    _pass_on(run, "lab sandbox smtp", context.args)


def _pass_on(run: Callable[..., None], name: str, words: list[str]) -> None:
    own = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    own.command()(run)
    own(args=words, prog_name=name)


@app.command()
def demo(
    orders: Annotated[int, typer.Option(help="number of generated orders", min=1)] = 500,
    orders_dir: Annotated[
        Path | None, typer.Option(help="a folder with orders in Northwind's layout, instead of generated ones")
    ] = None,
) -> None:
    """Start a fresh system, send orders through it, print the results, stop everything again."""
    from lab.demo.run import run_demo

    exit_with(run_demo, orders=orders, orders_dir=orders_dir)


@app.command()
def prove(
    *,
    quick: Annotated[bool, typer.Option(help="400 orders in a minute and a half instead of 3,000 in eight")] = False,
    seed: Annotated[
        int | None, typer.Option(help="the seed of the faults; default: a random one, which is printed")
    ] = None,
    orders: Annotated[int | None, typer.Option(help="number of orders", min=1)] = None,
) -> None:
    """Send orders under random faults, repair the system, and prove that no effect is lost or doubled."""
    import secrets

    from lab.prove import parameters
    from lab.prove.run import prove as run

    seed = secrets.randbelow(1_000_000) if seed is None else seed
    size = parameters.QUICK_ORDERS if quick else parameters.FULL_ORDERS
    plan = (parameters.quick if quick else parameters.full)(seed, orders or size)
    exit_with(run, plan)


@app.command()
def soak(
    minutes: Annotated[float, typer.Option(help="minutes in which orders are sent", min=0.5)] = 10,
) -> None:
    """Send 10 orders a second through a fresh system and check that neither backlog nor memory grows."""
    from lab.soak.run import run_soak

    exit_with(run_soak, minutes)


@app.command()
def observe() -> None:
    """Send orders and faults through a fresh system, and compare metrics, alerts and dashboards with the facts."""
    from lab.observe.run import run_observe

    exit_with(run_observe)


@app.command()
def up() -> None:
    """Start the whole system in the background and print its URLs."""
    from lab.stack import terminal

    exit_with(terminal.up)


@app.command()
def down() -> None:
    """Stop the system of `lab up` and keep its data."""
    from lab.stack import terminal

    exit_with(terminal.down)


@app.command()
def status() -> None:
    """List the programs of `lab up` with their states; exit code 1 if one does not run."""
    from lab.stack import terminal

    exit_with(terminal.status)


@app.command()
def restart(program: Annotated[str, typer.Argument(help="its name in `make status`, such as worker-sap")]) -> None:
    """Stop one program of `lab up` and start it again with the same settings."""
    from lab.stack import terminal

    exit_with(terminal.restart, program)


@app.command()
def env() -> None:
    """Print `export` lines that point a shell at the system of `lab up`: eval "$(lab env)"."""
    from lab.stack import terminal

    exit_with(terminal.env)


def main() -> None:
    """Run the command line."""
    app(prog_name="lab")
