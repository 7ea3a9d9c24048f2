"""Free ports on loopback.

A port is drawn below the kernel's ephemeral range, so no outgoing connection can take it in the seconds between this
choice and the server's bind. Until that bind the port seems free, and a start draws many ports before its first server
listens. So no process draws a port twice, and each port has a byte in a file of locks: the process that drew it locks
the byte until it ends, which keeps the port from all other processes of this user.
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
_drawn: set[int] = set()


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
    """The first free port of `preferred`, which may have been drawn before, else a random free port."""
    wanted = (port for port in preferred if port)
    drawn = (port for port in _draws() if port not in _drawn)
    return next(port for ports in (wanted, drawn) for port in ports if _take(port))


def _take(port: int) -> bool:
    """Lock a port that no server listens on and no other process has drawn; whether that succeeded."""
    ledger = _ledger()
    try:
        fcntl.lockf(ledger, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except (BlockingIOError, PermissionError):  # POSIX allows either error
        return False
    # Checked under the lock: a process that has just ended may have left its server listening.
    if not is_free(port):
        fcntl.lockf(ledger, fcntl.LOCK_UN, 1, port)
        return False
    _drawn.add(port)
    return True


@functools.cache
def _ledger() -> int:
    """The file of locks, one byte for each port. It stays open, because closing it would release all locks."""
    path = Path(tempfile.gettempdir()) / f"waybill-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _draws() -> Iterator[int]:
    """Random ports below the ephemeral range, then ports that the kernel chooses."""
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
