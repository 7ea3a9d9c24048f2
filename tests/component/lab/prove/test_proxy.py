"""The proxies of a proof, before a server that answers each line with itself."""

import socket
import socketserver
import threading
from collections.abc import Iterator

import pytest

from lab.prove.proxy import Proxies, Proxy, proxies
from lab.stack.ports import free_port

PATIENCE_SECONDS = 10.0


class Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


@pytest.fixture
def url() -> Iterator[str]:
    """An address with credentials and a name, as servers have."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"postgresql://waybill:secret@127.0.0.1:{server.server_address[1]}/waybill"
        server.shutdown()
        thread.join()


@pytest.fixture
def ways() -> Iterator[Proxies]:
    with proxies() as made:
        yield made


def connected(proxy: Proxy) -> socket.socket:
    """A connection that is known to reach the server."""
    connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE_SECONDS)
    assert asked(connection) == b"hello\n"
    return connection


def asked(connection: socket.socket) -> bytes:
    connection.sendall(b"hello\n")
    return connection.recv(100)


def ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(100) == b""
    except ConnectionError:
        return True


def test_the_address_through_a_proxy_differs_in_its_port_alone(url: str, ways: Proxies) -> None:
    port = ways.to(url).port

    assert ways.through(url) == f"postgresql://waybill:secret@127.0.0.1:{port}/waybill"
    assert ways.through(url) == ways.through(url)


def test_a_cut_ends_the_connections_there_are_and_lets_new_ones_through(url: str, ways: Proxies) -> None:
    proxy = ways.to(url)
    with connected(proxy) as first, connected(proxy) as second:
        assert proxy.cut() == 2
        assert ended(first)
        assert ended(second)
    with connected(proxy) as third:
        assert asked(third) == b"hello\n"
    assert proxy.accepted == 3


def test_a_cut_of_a_share_leaves_the_others(url: str, ways: Proxies) -> None:
    proxy = ways.to(url)
    connections = [connected(proxy) for _ in range(4)]
    try:
        assert proxy.cut(share=0.5, seed=0.3) == 2
        left = [connection for connection in connections if not _cut(connection)]
        assert len(left) == 2
    finally:
        for connection in connections:
            connection.close()


def _cut(connection: socket.socket) -> bool:
    try:
        return asked(connection) == b""
    except ConnectionError:
        return True


def test_answers_that_are_held_back_come_when_they_are_released(url: str, ways: Proxies) -> None:
    proxy = ways.to(url)
    with connected(proxy) as connection:
        proxy.hold()
        connection.sendall(b"first\n")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        connection.settimeout(PATIENCE_SECONDS)
        assert proxy.release() == 1
        assert connection.recv(100) == b"first\n"
        assert asked(connection) == b"hello\n"


def test_a_server_that_is_not_there_is_no_connection(ways: Proxies) -> None:
    proxy = ways.to(f"amqp://127.0.0.1:{free_port()}/")
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE_SECONDS) as connection:
        assert ended(connection)


def test_more_than_a_buffer_holds_goes_through_whole(url: str, ways: Proxies) -> None:
    sent = b"x" * 5_000_000 + b"\n"
    with connected(ways.to(url)) as connection:
        sending = threading.Thread(target=connection.sendall, args=(sent,))
        sending.start()
        received = b""
        while not received.endswith(b"\n"):
            received += connection.recv(1_000_000)
        sending.join()
    assert received == sent
