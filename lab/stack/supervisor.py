"""The process table: one supervisord per instance, told what to do over its XML-RPC.

supervisord restarts what dies, with back-off, and keeps a log per program. Its control port is a loopback port with a
generated password, because a socket file's path may be 108 bytes and a checkout's path may be longer. Nothing starts
by itself: `lab.stack.local` starts each program when what it needs is there.
"""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ProtocolError, ServerProxy

from lab.stack.errors import StackError
from lab.stack.instance import Instance
from lab.stack.ports import free_port
from lab.stack.program import Program, clean_environment, log_tail

START_SECONDS = 20
ALIVE = ("STARTING", "RUNNING")
STOPPABLE = (*ALIVE, "BACKOFF")
HEADER = """\
[supervisord]
nodaemon = true
pidfile = {folder}/supervisord.pid
logfile = {logs}/supervisord.log
childlogdir = {logs}
silent = true
{user}
[inet_http_server]
port = 127.0.0.1:{port}
username = waybill
password = {password}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""
PROGRAM = """
[program:{name}]
command = {command}
directory = {directory}
environment = {environment}
stdout_logfile = {log}
redirect_stderr = true
stdout_logfile_maxbytes = 50MB
stdout_logfile_backups = 2
autostart = false
autorestart = true
startsecs = 1
startretries = 20
stopsignal = {signal}
stopwaitsecs = {wait}
; A worker's children belong to its main process, which lets them finish: the signal goes to it alone. What is left
; when the time is over is killed with all its group.
stopasgroup = false
killasgroup = true
"""


@dataclass(frozen=True)
class ProgramState:
    """One line of `status`: `state` is supervisor's word, `uptime_seconds` 0 unless it runs."""

    name: str
    state: str
    pid: int
    uptime_seconds: int
    message: str


class Supervisor:
    """The supervisord of one instance."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self._config = instance.folder / "supervisord.conf"
        self._access = instance.folder / "supervisord.json"
        self._daemon: subprocess.Popen[bytes] | None = None

    def launch(self, groups: Mapping[str, Iterable[Program]], environment: Mapping[str, str], cwd: Path) -> None:
        """Write the table and start supervisord with it; no program runs yet.

        `groups` are stopped one after another, the last first; programs of one group at the same time.
        `environment` is what every program gets. Raises StackError when supervisord does not answer.
        """
        port, password = free_port(), secrets.token_hex(16)
        self.instance.logs.mkdir(parents=True, exist_ok=True)
        self._write(self._access, json.dumps({"port": port, "password": password}))
        self._write(self._config, process_table(self.instance, groups, port, password, cwd))
        output = self.instance.logs / "supervisord.out"
        with output.open("wb") as log:
            self._daemon = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._config)],
                env={**clean_environment(), **environment, **self.instance.mark},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                raise StackError(f"supervisord did not come up; {log_tail(output)}")
            time.sleep(0.05)

    def answers(self) -> bool:
        """Whether the supervisord of this instance runs and takes commands."""
        try:
            return bool(self._rpc("getState")["statename"] == "RUNNING")
        except (OSError, ProtocolError, Fault, KeyError, ValueError):
            return False

    def start(self, *names: str) -> None:
        """Ask for each program (`group:name`) to be started; does not wait for it."""
        for name in names:
            try:
                self._rpc("startProcess", name, False)
            except Fault as fault:
                raise StackError(f"supervisor cannot start {name}: {fault.faultString}") from fault

    def restart(self, program: str) -> ProgramState:
        """Stop a program, by force when its time is over, and start it; returns when it has run for a second.

        Raises StackError when there is no such program, or it does not stay up.
        """
        groups = {info["name"]: info["group"] for info in self._rpc("getAllProcessInfo")} if self.answers() else {}
        if not groups:
            raise StackError("nothing runs here; `make up` starts it")
        if program not in groups:
            raise StackError(f"{program!r} is no program of `make status`: {', '.join(sorted(groups))}")
        name = f"{groups[program]}:{program}"
        try:
            if self._info(name).get("statename") in STOPPABLE:
                self._rpc("stopProcess", name)
            self._rpc("startProcess", name)
        except (OSError, Fault) as error:
            log = self.instance.logs / f"{program}.log"
            raise StackError(f"{program} does not come up ({error}); {log_tail(log)}") from error
        return next(state for state in self.states() if state.name == program)

    def pid_alive(self, name: str) -> int:
        """The pid of a program (`group:name`) that runs, 0 for one that does not or is about to be started again."""
        info = self._info(name)
        return int(info["pid"]) if info.get("statename") in ALIVE else 0

    def _info(self, name: str) -> dict[str, Any]:
        try:
            return dict(self._rpc("getProcessInfo", name))
        except (OSError, ProtocolError, Fault):
            return {}

    def states(self) -> list[ProgramState]:
        """The table as it is now; empty when supervisord does not answer."""
        if not self.answers():
            return []
        return [
            ProgramState(
                name=info["name"],
                state=info["statename"],
                pid=info["pid"],
                uptime_seconds=info["now"] - info["start"] if info["statename"] == "RUNNING" else 0,
                message=info["spawnerr"] or info["description"],
            )
            for info in self._rpc("getAllProcessInfo")
        ]

    def stop(self, seconds: float) -> None:
        """Stop every program in order, then supervisord itself; returns when it has gone or `seconds` have passed."""
        try:
            self._rpc("shutdown")
        except (OSError, ProtocolError, Fault):
            return
        deadline = time.monotonic() + seconds
        while self._exists() and time.monotonic() < deadline:
            time.sleep(0.05)

    def reap(self) -> None:
        """Take note of a daemon of this very process that has ended; a zombie would look as if it still ran."""
        if self._daemon is not None:
            self._daemon.wait(START_SECONDS)
            self._daemon = None

    def _exists(self) -> bool:
        """The daemon deletes its pid file as its last deed."""
        return (self.instance.folder / "supervisord.pid").exists() and self._answers_at_all()

    def _answers_at_all(self) -> bool:
        try:
            self._rpc("getState")
        except (OSError, ProtocolError, Fault):
            return False
        return True

    def _rpc(self, method: str, *arguments: object) -> Any:  # noqa: ANN401  # XML-RPC answers have no types
        access = json.loads(self._access.read_text())
        with ServerProxy(f"http://waybill:{access['password']}@127.0.0.1:{access['port']}/RPC2") as proxy:
            return getattr(proxy.supervisor, method)(*arguments)

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.touch(mode=0o600)
        path.write_text(text)


def process_table(
    instance: Instance, groups: Mapping[str, Iterable[Program]], port: int, password: str, cwd: Path
) -> str:
    """The text of supervisord's configuration. Raises StackError for a value that it cannot hold."""
    user = f"user = {os.getuid()}\n" if os.geteuid() == 0 else ""
    folder, logs = _literal(instance.folder), _literal(instance.logs)
    parts = [HEADER.format(folder=folder, logs=logs, port=port, password=password, user=user)]
    for priority, (group, programs) in enumerate(groups.items(), start=1):
        listed = list(programs)
        names = ",".join(program.name for program in listed)
        parts.append(f"\n[group:{group}]\nprograms = {names}\npriority = {priority}\n")
        parts.extend(_section(program, cwd) for program in listed)
    return "".join(parts)


def _section(program: Program, cwd: Path) -> str:
    return PROGRAM.format(
        name=program.name,
        command=" ".join(_quoted(word) for word in program.command),
        directory=_literal(cwd),
        environment=",".join(f"{name}={_quoted(value)}" for name, value in program.environment.items()),
        log=_literal(program.log),
        signal=program.stop_signal.name.removeprefix("SIG"),
        wait=round(program.stop_seconds),
    )


def _literal(value: object) -> str:
    """A value as it must stand in the file: % opens an expansion there."""
    return str(value).replace("%", "%%")


def _quoted(value: str) -> str:
    if any(character in value for character in '"\\\n'):
        raise StackError(f"supervisor's table cannot hold {value!r}: no quotes, backslashes or line ends, please")
    return f'"{_literal(value)}"'
