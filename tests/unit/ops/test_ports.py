"""Ports of our own."""

import socket

from ops.ports import free_port, is_free


def test_a_port_that_somebody_listens_on_is_not_chosen() -> None:
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
