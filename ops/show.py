"""What `up`, `down`, `status`, `restart`, `env` and `doctor` print."""

import asyncio
from datetime import timedelta

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ops.commands import LOCAL, UP
from ops.errors import InstanceBusyError
from ops.local_stack import EVERYTHING, LocalStack
from ops.playground import fill_empty_shelves
from ops.prometheus import alerts_page
from ops.target import is_local, prometheus_in_question, settings_in_question, shell_lines

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
    console.print('`eval "$(.venv/bin/waybill env)"` gives a shell its addresses.')


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


def show_doctor() -> int:
    """Print what the doctor found; 0 when nothing is bad. Raises OpsError when there is nothing to look at."""
    from ops.doctor import examine
    from ops.doctor_finding import Verdict

    findings = asyncio.run(examine(settings_in_question(), prometheus_in_question(), local=is_local()))
    colours = {Verdict.GOOD: "green", Verdict.WARNING: "yellow", Verdict.BAD: "red"}
    table = Table("", "What")
    for words in ("Found", "What to do"):
        table.add_column(words, overflow="fold")  # a path or an address, whole
    for finding in findings:
        mark = f"[{colours[finding.verdict]}]{finding.verdict}[/]"
        table.add_row(mark, escape(finding.subject), escape(finding.found), escape(finding.remedy))
    console.print(table)
    return 1 if any(finding.verdict is Verdict.BAD for finding in findings) else 0


def _server(url: str) -> str:
    """The address without its password."""
    return url.rpartition("@")[2]
