"""The process table of an instance: one supervisord, controlled over its XML-RPC.

supervisord restarts a program that dies, with back-off, and keeps a log for each program. Its control port is a
loopback port with a generated password: a socket file's path has at most 108 bytes, and a checkout's path may be
longer. No program starts by itself: `lab.stack.local` starts each one when the programs that it needs answer.
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
; Only a worker's main process gets the signal, because it lets its children finish. After the stop time the whole
; process group is killed.
stopasgroup = false
killasgroup = true
"""


@dataclass(frozen=True)
class ProgramState:
    """One line of `lab status`: `state` is supervisor's name for it, `uptime_seconds` is 0 unless the program runs."""

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
        """Write the process table and start supervisord; no program runs yet.

        `groups` are stopped one after another, the last first; the programs of one group at the same time.
        Every program gets `environment`. Raises StackError if supervisord does not answer.
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
                raise StackError(f"supervisord did not start; {log_tail(output)}")
            time.sleep(0.05)

    def answers(self) -> bool:
        """Whether the supervisord of this instance runs and accepts commands."""
        try:
            return bool(self._rpc("getState")["statename"] == "RUNNING")
        except (OSError, ProtocolError, Fault, KeyError, ValueError):
            return False

    def start(self, *names: str) -> None:
        """Start each program (`group:name`) without waiting for it."""
        for name in names:
            try:
                self._rpc("startProcess", name, False)
            except Fault as fault:
                raise StackError(f"supervisor cannot start {name}: {fault.faultString}") from fault

    def restart(self, program: str) -> ProgramState:
        """Stop a program, by force after its stop time, and start it; returns after it has run for a second.

        Raises StackError if there is no such program, or it does not keep running.
        """
        groups = {info["name"]: info["group"] for info in self._rpc("getAllProcessInfo")} if self.answers() else {}
        if not groups:
            raise StackError("nothing runs here; `make up` starts it")
        if program not in groups:
            raise StackError(f"{program!r} is not a program of `make status`: {', '.join(sorted(groups))}")
        name = f"{groups[program]}:{program}"
        try:
            if self._info(name).get("statename") in STOPPABLE:
                self._rpc("stopProcess", name)
            self._rpc("startProcess", name)
        except (OSError, Fault) as error:
            log = self.instance.logs / f"{program}.log"
            raise StackError(f"{program} does not start ({error}); {log_tail(log)}") from error
        return next(state for state in self.states() if state.name == program)

    def pid_alive(self, name: str) -> int:
        """The pid of a running program (`group:name`); 0 if it does not run or supervisord is about to restart it."""
        info = self._info(name)
        return int(info["pid"]) if info.get("statename") in ALIVE else 0

    def _info(self, name: str) -> dict[str, Any]:
        try:
            return dict(self._rpc("getProcessInfo", name))
        except (OSError, ProtocolError, Fault):
            return {}

    def states(self) -> list[ProgramState]:
        """The current state of each program; empty if supervisord does not answer."""
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
        """Stop every program in order, then supervisord; returns when supervisord has ended or after `seconds`."""
        try:
            self._rpc("shutdown")
        except (OSError, ProtocolError, Fault):
            return
        deadline = time.monotonic() + seconds
        while self._exists() and time.monotonic() < deadline:
            time.sleep(0.05)

    def reap(self) -> None:
        """Reap a supervisord that this process started: a zombie would count as running."""
        if self._daemon is not None:
            self._daemon.wait(START_SECONDS)
            self._daemon = None

    def _exists(self) -> bool:
        """Whether supervisord still runs; it deletes its pid file at the very end."""
        return (self.instance.folder / "supervisord.pid").exists() and self._responds()

    def _responds(self) -> bool:
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
    """The text of supervisord's configuration. Raises StackError for a value that the file cannot express."""
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
    """A value with % doubled: a single % begins an expansion in that file."""
    return str(value).replace("%", "%%")


def _quoted(value: str) -> str:
    if any(character in value for character in '"\\\n'):
        raise StackError(
            f"supervisor's configuration cannot express {value!r}: remove quotes, backslashes and line ends"
        )
    return f'"{_literal(value)}"'
