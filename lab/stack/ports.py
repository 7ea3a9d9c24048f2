"""Free ports on loopback.

A port is drawn below the kernel's ephemeral range, so that no outgoing connection can take it in the seconds between
this choice and the server's own bind. Until that bind nothing shows that it is taken, and a start draws many ports
before its first server listens: so no process draws a port twice, and a byte of a file, locked until the process ends,
keeps each port from all the others of this user.
"""

import fcntl
import functools
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

LOWEST = 10_000
DRAWS = 200
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_given: set[int] = set()


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(*preferred: int | None) -> int:
    """The first free one of `preferred`, which may be one given before, else a random free port."""
    wishes = (port for port in preferred if port)
    drawn = (port for port in _draws() if port not in _given)
    return next(port for ports in (wishes, drawn) for port in ports if _take(port))


def _take(port: int) -> bool:
    """Whether nobody listens there and no other process has been given it; then it is this one's until it ends."""
    ledger = _ledger()
    try:
        fcntl.lockf(ledger, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except (BlockingIOError, PermissionError):  # POSIX leaves the choice of the two to the system
        return False
    # Looked at behind the lock: a process that ended a moment ago may have left its server listening.
    if not is_free(port):
        fcntl.lockf(ledger, fcntl.LOCK_UN, 1, port)
        return False
    _given.add(port)
    return True


@functools.cache
def _ledger() -> int:
    """The file of locks, a byte for each port. It stays open: a process that closes it has none of its locks left."""
    path = Path(tempfile.gettempdir()) / f"waybill-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _draws() -> Iterator[int]:
    """Random ports below the ephemeral range; where none of them will do, those that the kernel draws."""
    rng = random.SystemRandom()
    highest = _ephemeral_start() - 1
    for _ in range(DRAWS if highest > LOWEST else 0):
        yield rng.randint(LOWEST, highest)
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        yield port


def _ephemeral_start() -> int:
    try:
        return int(_EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return LOWEST
