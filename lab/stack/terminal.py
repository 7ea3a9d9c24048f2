"""`lab up`, `down`, `status`, `restart` and `env`: what they print."""

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

# Variables of `make up`'s programs that a shell must not have: a program that is started by hand has its own.
NOT_FOR_A_SHELL = ("PYTHONUNBUFFERED", "LOG_FORMAT", "RELAY_HTTP_PORT", "COLLECTOR_HTTP_PORT")
# The variables that hold the pages of the programs, as the docs name them.
PAGES = {"API": "api", "RELAY": "relay", "SAP": "sap", "MAIL": "smtp", "PROMETHEUS": "prometheus"}
STATE_COLOURS = {"RUNNING": "green", "STARTING": "yellow", "BACKOFF": "yellow"}

console = Console(highlight=False)


def show_up() -> None:
    """Start the background system and print where it answers. Raises OpsError."""
    stack = LocalStack.read(UP)
    with console.status(f"Starting {EVERYTHING}"):
        started = stack.up()
        asyncio.run(fill_empty_shelves(stack.database_url))
    if stack.unwatched:
        console.print(escape(stack.unwatched), style="yellow", soft_wrap=True)
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


def show_down() -> None:
    """Stop the background system. Raises OpsError."""
    with console.status("Stopping"):
        count = LocalStack.read(UP).down()
    console.print(f"Waybill is stopped ({count} processes); its data stays in {UP}." if count else "Nothing ran.")
    stop_killed_demo()


def stop_killed_demo() -> None:
    """Stop what a demo left that was killed; one that runs is named and let alone. Raises OpsError."""
    demo = LocalStack.read(LOCAL / "demo")
    if not demo.instance.processes():
        return
    try:
        count = demo.down()
    except InstanceBusyError:
        console.print("A demo runs; it stops by itself, or with Ctrl-C.")
    else:
        console.print(f"Stopped what a killed demo had left ({count} processes).")


def show_status() -> int:
    """Print the process table; 0 when every program runs."""
    stack = LocalStack.read(UP)
    states = stack.states()
    if not states:
        left = len(stack.instance.processes())
        console.print(
            f"The supervisor is gone but {left} processes are left; `make down` ends them, `make up` starts afresh."
            if left
            else "Nothing runs; start it with `make up`."
        )
        return 1
    pages = {**stack.addresses.urls, "postgres": _server(stack.database_url), "rabbitmq": _server(stack.amqp_url)}
    table = Table("Program", "State", "Pid", "Up for", "Where")
    for state in states:
        colour = STATE_COLOURS.get(state.state, "red")
        where = pages.get(state.name, "") if state.state == "RUNNING" else state.message
        uptime = str(timedelta(seconds=state.uptime_seconds)) if state.uptime_seconds else ""
        table.add_row(state.name, f"[{colour}]{state.state}[/]", str(state.pid or ""), uptime, escape(where))
    console.print(table)
    if prometheus := pages.get("prometheus"):  # not in the record of an older start
        console.print(f"What fires now: {alerts_page(prometheus)}", soft_wrap=True)
    return 0 if all(state.state == "RUNNING" for state in states) else 1


def show_restart(program: str) -> None:
    """Restart one program of the background system. Raises OpsError."""
    with console.status(f"Stopping {program}, which ends what is at work, and starting it again"):
        state = LocalStack.read(UP).supervisor.restart(program)
    console.print(f"{program} runs again, pid {state.pid}.")


def show_env() -> None:
    """Print what a shell must export to speak to the background system. Raises OpsError."""
    for line in shell_lines():
        print(line)  # noqa: T201 - for `eval`: neither wrapped nor coloured


def shell_lines() -> Iterator[str]:
    """`export` lines that make a shell speak to the local system. Raises NoSystemError if none was ever started."""
    stack = LocalStack.read(UP)
    if not stack.started_once:
        raise NoSystemError(f"nothing was ever started in {UP}; `make up` starts a system here, then ask again")
    own, servers = shlex.quote(str(Path(sys.executable).parent)), shlex.quote(str(binaries()))
    yield f'export PATH={own}:"$PATH":{servers}'  # waybill and lab; and psql, where the machine has none
    urls = stack.addresses.urls
    pages = {name: urls[program] for name, program in PAGES.items() if program in urls}
    for name, value in {**stack.environment(), **pages}.items():
        if name not in NOT_FOR_A_SHELL:
            yield f"export {name}={shlex.quote(value)}"


def _server(url: str) -> str:
    """The address without its password."""
    return url.rpartition("@")[2]
