"""`lab`: a whole system on this machine, and the programs that try it. Never ships; the make targets call it.

Each command imports what it runs when it runs, so that `--help` answers at once. An error that an operator can correct
ends in one line on stderr and exit code 1, as in `waybill`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ops.cli.exits import guarded as _guarded

# Options of the sandboxes are defined by the sandboxes: pass them on as they are.
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
app = typer.Typer(
    name="lab",
    help="A whole Waybill on this machine: started, tried, measured.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
sandbox_app = typer.Typer(help="Stand-ins for the outside world.", no_args_is_help=True)
app.add_typer(sandbox_app, name="sandbox")


@sandbox_app.command("sap", context_settings=PASS_ON, add_help_option=False)
def sandbox_sap(context: typer.Context) -> None:
    """A SAP system that speaks API_SALES_ORDER_SRV, keeps a ledger, and fails on demand (`--help`)."""
    from lab.sandbox.sap.main import run

    _pass_on(run, "lab sandbox sap", context.args)


@sandbox_app.command("smtp", context_settings=PASS_ON, add_help_option=False)
def sandbox_smtp(context: typer.Context) -> None:
    """An SMTP server that keeps each message, with a view of them over HTTP (`--help`)."""
    from lab.sandbox.mail.main import run

    _pass_on(run, "lab sandbox smtp", context.args)


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
    from lab.demo.run import run_demo

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

    from lab.prove import parameters
    from lab.prove.run import prove as run

    seed = secrets.randbelow(1_000_000) if seed is None else seed
    size = parameters.QUICK_ORDERS if quick else parameters.FULL_ORDERS
    plan = (parameters.quick if quick else parameters.full)(seed, orders or size)
    raise typer.Exit(_guarded(run, plan) or 0)


@app.command()
def soak(
    minutes: Annotated[float, typer.Option(help="how long orders are sent", min=0.5)] = 10,
) -> None:
    """Send 10 orders a second through a fresh system for minutes and see whether backlog or memory grows."""
    from lab.soak.run import run_soak

    raise typer.Exit(_guarded(run_soak, minutes) or 0)


@app.command()
def observe() -> None:
    """Send orders and faults through a fresh system, and hold metrics, alerts and dashboards to the truth."""
    from lab.observe.run import run_observe

    raise typer.Exit(_guarded(run_observe) or 0)


@app.command()
def up() -> None:
    """Start the whole system in the background and say where it answers."""
    from lab.stack.terminal import show_up

    _guarded(show_up)


@app.command()
def down() -> None:
    """Stop the system of `lab up`; its data stays."""
    from lab.stack.terminal import show_down

    _guarded(show_down)


@app.command()
def status() -> None:
    """Each program of `lab up` with its state; exit code 1 when one does not run."""
    from lab.stack.terminal import show_status

    raise typer.Exit(_guarded(show_status))


@app.command()
def restart(program: Annotated[str, typer.Argument(help="its name in `make status`, such as worker-sap")]) -> None:
    """Stop one program of `lab up` and start it again, with the settings it had."""
    from lab.stack.terminal import show_restart

    _guarded(show_restart, program)


@app.command()
def env() -> None:
    """Print `export` lines for a shell to speak to the system of `lab up`: eval "$(lab env)"."""
    from lab.stack.terminal import show_env

    _guarded(show_env)


def main() -> None:
    """Run the command line."""
    app(prog_name="lab")
