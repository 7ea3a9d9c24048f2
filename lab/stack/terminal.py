"""The commands `lab up`, `down`, `status`, `restart` and `env`: they run and print. Called by `lab.cli`."""

import asyncio
import shlex
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lab.stack.commands import LOCAL, UP
from lab.stack.errors import InstanceBusyError
from lab.stack.local import EVERYTHING, LocalStack
from lab.stack.servers.postgres import binaries
from lab.stack.servers.prometheus import alerts_page
from lab.workload.seed import fill_empty_shelves
from ops.errors import NoSystemError

# Variables of `make up`'s programs that a shell must not inherit: a program started by hand has its own values.
NOT_FOR_A_SHELL = ("PYTHONUNBUFFERED", "LOG_FORMAT", "RELAY_HTTP_PORT", "COLLECTOR_HTTP_PORT")
# The variables with the URLs of programs, as the docs name them.
PAGES = {"API": "api", "RELAY": "relay", "SAP": "sap", "MAIL": "smtp", "PROMETHEUS": "prometheus"}
STATE_COLOURS = {"RUNNING": "green", "STARTING": "yellow", "BACKOFF": "yellow"}

console = Console(highlight=False)


def up() -> None:
    """Start the background system and print its URLs. Raises OpsError."""
    stack = LocalStack.read(UP)
    with console.status(f"Starting {EVERYTHING}"):
        started = stack.up()
        asyncio.run(fill_empty_shelves(stack.database_url))
    if stack.prometheus_error:
        console.print(escape(stack.prometheus_error), style="yellow", soft_wrap=True)
    console.print("Waybill runs." if started else "Waybill runs already.")
    prometheus = stack.addresses.urls.get("prometheus")  # not in the record of an older start
    pages = {
        "API": stack.api_url,
        "OpenAPI": f"{stack.api_url}/openapi.json",
        "SAP sandbox": f"{stack.sap_url}/sandbox",
        "Mail inbox": stack.mail_url,
        "Alerts": alerts_page(prometheus) if prometheus else "",
        "Logs": str(stack.instance.logs),
    }
    for name, page in pages.items():
        console.print(f"  {name:<12} {escape(page)}", soft_wrap=True)
    console.print("Stop it with `make down`; `make status` shows its programs.")
    console.print('`eval "$(.venv/bin/lab env)"` gives a shell its addresses.')


def down() -> None:
    """Stop the background system. Raises OpsError."""
    with console.status("Stopping"):
        count = LocalStack.read(UP).down()
    console.print(
        f"Waybill is stopped ({count} processes); its data stays in {UP}." if count else "No program was running."
    )
    stop_killed_demo()


def stop_killed_demo() -> None:
    """Stop the leftovers of a killed demo. A running demo is reported and keeps running. Raises OpsError."""
    demo = LocalStack.read(LOCAL / "demo")
    if not demo.instance.processes():
        return
    try:
        count = demo.down()
    except InstanceBusyError:
        console.print("A demo is running; it stops by itself, or with Ctrl-C.")
    else:
        console.print(f"Stopped the leftovers of a killed demo ({count} processes).")


def status() -> int:
    """Print the process table; 0 if every program runs."""
    stack = LocalStack.read(UP)
    states = stack.states()
    if not states:
        left = len(stack.instance.processes())
        console.print(
            f"The supervisor has ended but {left} processes still run; `make down` stops them, `make up` starts again."
            if left
            else "No program runs; start the system with `make up`."
        )
        return 1
    pages = {**stack.addresses.urls, "postgres": _server(stack.database_url), "rabbitmq": _server(stack.amqp_url)}
    table = Table("Program", "State", "Pid", "Uptime", "Address")
    for state in states:
        colour = STATE_COLOURS.get(state.state, "red")
        where = pages.get(state.name, "") if state.state == "RUNNING" else state.message
        uptime = str(timedelta(seconds=state.uptime_seconds)) if state.uptime_seconds else ""
        table.add_row(state.name, f"[{colour}]{state.state}[/]", str(state.pid or ""), uptime, escape(where))
    console.print(table)
    if prometheus := pages.get("prometheus"):  # not in the record of an older start
        console.print(f"Firing alerts: {alerts_page(prometheus)}", soft_wrap=True)
    return 0 if all(state.state == "RUNNING" for state in states) else 1


def restart(program: str) -> None:
    """Restart one program of the background system. Raises OpsError."""
    with console.status(f"Restarting {program}, which finishes its current work first"):
        state = LocalStack.read(UP).supervisor.restart(program)
    console.print(f"{program} runs again, pid {state.pid}.")


def env() -> None:
    """Print the `export` lines that point a shell at the background system. Raises OpsError."""
    for line in shell_lines():
        print(line)  # noqa: T201 - for `eval`: without wrapping and colours


def shell_lines() -> Iterator[str]:
    """`export` lines that point a shell at the local system. Raises NoSystemError if it was never started."""
    stack = LocalStack.read(UP)
    if not stack.started_once:
        raise NoSystemError(f"no system was ever started in {UP}; start one with `make up` first")
    own, servers = shlex.quote(str(Path(sys.executable).parent)), shlex.quote(str(binaries()))
    yield f'export PATH={own}:"$PATH":{servers}'  # waybill and lab; and psql, if the machine has none
    urls = stack.addresses.urls
    pages = {name: urls[program] for name, program in PAGES.items() if program in urls}
    for name, value in {**stack.environment(), **pages}.items():
        if name not in NOT_FOR_A_SHELL:
            yield f"export {name}={shlex.quote(value)}"


def _server(url: str) -> str:
    """The address without its password."""
    return url.rpartition("@")[2]
