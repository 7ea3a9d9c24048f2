"""Free ports on loopback.

A port is drawn below the kernel's ephemeral range, so that no outgoing connection can take it in the seconds between
this choice and the server's own bind; the draw is random, so that two instances starting at once hardly ever meet.
"""

import random
import socket
from pathlib import Path

LOWEST = 10_000
DRAWS = 200
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


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
    """The first free one of `preferred`, else a random free port."""
    for port in preferred:
        if port and is_free(port):
            return port
    rng = random.SystemRandom()
    highest = _ephemeral_start() - 1
    for _ in range(DRAWS if highest > LOWEST else 0):
        port = rng.randint(LOWEST, highest)
        if is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ephemeral_start() -> int:
    try:
        return int(_EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return LOWEST
