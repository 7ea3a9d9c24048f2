"""The TCP proxies, before a server that answers each line with itself."""

import select
import socket
import socketserver
import threading
from collections.abc import Iterator

import pytest

from lab.stack.ports import free_port
from lab.tcp_proxy.proxy import Proxies, Proxy, proxied, proxies

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


def read_line(connection: socket.socket) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n"):
        received += connection.recv(1_000_000)
    return bytes(received)


def answered(connection: socket.socket) -> bool:
    """Whether bytes are there to be read. The caller knows that they would have come by now."""
    return bool(select.select([connection], [], [], 0.1)[0])


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
        proxy.hold_answers()
        connection.sendall(b"first\n")
        assert proxy.held.wait(PATIENCE_SECONDS)
        assert not answered(connection)
        assert proxy.release_answers() == 1
        assert connection.recv(100) == b"first\n"
        assert asked(connection) == b"hello\n"


def test_answers_pass_up_to_the_byte_from_which_they_are_held_back(url: str, ways: Proxies) -> None:
    proxy = ways.to(url)
    with connected(proxy) as connection:
        proxy.hold_answers(after_bytes=9)
        assert asked(connection) == b"hello\n"
        assert asked(connection) == b"hel"
        assert proxy.held.wait(PATIENCE_SECONDS)
        assert proxy.release_answers() == 1
        assert connection.recv(100) == b"lo\n"


def test_a_silent_proxy_passes_nothing_in_either_direction_and_closes_nothing(url: str, ways: Proxies) -> None:
    proxy = ways.to(url)
    with connected(proxy) as connection:
        proxy.fall_silent()
        connection.sendall(b"first\n")
        assert proxy.held.wait(PATIENCE_SECONDS)
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE_SECONDS) as later:
            later.sendall(b"second\n")
            assert not answered(connection)
            assert not answered(later)
            assert proxy.release_answers() >= 1
            assert connection.recv(100) == b"first\n"
            assert later.recv(100) == b"second\n"


def test_a_sender_meets_full_buffers_at_a_silent_proxy_and_loses_nothing(url: str, ways: Proxies) -> None:
    proxy = ways.to(url)
    sent = b"x" * 50_000_000
    with connected(proxy) as connection:
        proxy.fall_silent()
        connection.setblocking(False)
        taken = 0
        while select.select([], [connection], [], 0.1)[1]:
            taken += connection.send(sent[taken:])
        assert taken < len(sent)
        proxy.release_answers()
        connection.settimeout(PATIENCE_SECONDS)
        connection.sendall(b"\n")
        assert len(read_line(connection)) == taken + 1


def test_a_proxy_that_refuses_ends_every_connection_old_or_new_until_it_accepts_again(url: str, ways: Proxies) -> None:
    proxy = ways.to(url)
    with connected(proxy) as connection:
        proxy.refuse()
        assert ended(connection)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE_SECONDS) as refused:
        assert ended(refused)
    assert (proxy.accepted, proxy.refused) == (1, 1)
    proxy.accept()
    with connected(proxy) as accepted:
        assert asked(accepted) == b"hello\n"


def test_a_tap_changes_what_passes_or_ends_its_connection(url: str) -> None:
    def tap(data: bytes, to_server: bool) -> bytes | None:
        return None if b"bye" in data else data.upper() if to_server else data[::-1]

    with (
        proxied(url, lambda: tap) as (_, proxy),
        socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE_SECONDS) as connection,
    ):
        assert asked(connection) == b"\nOLLEH"
        connection.sendall(b"bye\n")
        assert ended(connection)


def test_a_server_that_is_not_there_is_no_connection(ways: Proxies) -> None:
    proxy = ways.to(f"amqp://127.0.0.1:{free_port()}/")
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE_SECONDS) as connection:
        assert ended(connection)


def test_more_than_a_buffer_holds_goes_through_whole(url: str, ways: Proxies) -> None:
    sent = b"x" * 5_000_000 + b"\n"
    with connected(ways.to(url)) as connection:
        sending = threading.Thread(target=connection.sendall, args=(sent,))
        sending.start()
        received = read_line(connection)
        sending.join()
    assert received == sent
