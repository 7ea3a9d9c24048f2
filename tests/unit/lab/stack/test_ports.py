"""Free ports: drawn once, and kept from other processes."""

import socket
import subprocess
import sys

import pytest

from lab.stack import ports
from lab.stack.ports import free_port, is_free
from tests.support.paths import ROOT

# Draws a port as a start does, says which, and binds it to nothing until its input ends.
ANOTHER_START = "import sys; from lab.stack.ports import free_port; print(free_port(), flush=True); sys.stdin.read()"


def test_a_port_with_a_listening_server_is_not_chosen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        assert not is_free(port)
        assert free_port(port) != port


def test_the_first_free_of_the_preferred_ports_is_chosen() -> None:
    wish = free_port()

    assert free_port(None, 0, wish) == wish


def test_a_drawn_port_can_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        assert server.getsockname()[1] > 0


def test_no_port_is_drawn_twice_although_no_server_listens_on_it_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_ephemeral_start", lambda: ports.LOWEST + 20)

    drawn = [free_port() for _ in range(30)]  # more than there are: the kernel's own draws are held to it as well

    assert len(set(drawn)) == len(drawn)


def test_a_port_that_another_process_has_drawn_is_kept_for_it_until_it_ends() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ANOTHER_START], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as another:
        assert another.stdout
        port = int(another.stdout.readline())

        assert is_free(port)
        assert free_port(port) != port
        another.communicate()
    assert free_port(port) == port
