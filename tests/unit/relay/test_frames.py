"""The bytes of a message are those that the client library would send, and what does not fit is refused by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import BasicProperties, frame
from pika.spec import FRAME_MAX_SIZE, Basic

from relay.frames import UnpublishableError, message

SHORT = st.text(max_size=60)
HEADERS = st.dictionaries(SHORT, st.one_of(st.text(), st.integers(-(2**31), 2**31 - 1)), max_size=8)


def by_the_library(
    address: tuple[str, str], properties: tuple[str, str], headers: dict[str, str | int], body: bytes, frame_max: int
) -> bytes:
    """What pika writes for the same message."""
    content = BasicProperties("application/json", None, headers, 2, message_id=properties[0], type=properties[1])
    frames: list[frame.Frame] = [
        frame.Method(3, Basic.Publish(exchange=address[0], routing_key=address[1], mandatory=True)),
        frame.Header(3, len(body), content),
    ]
    largest = frame_max - 8
    frames += [frame.Body(3, body[start : start + largest]) for start in range(0, len(body), largest)]
    return b"".join(each.marshal() for each in frames)


@given(st.tuples(SHORT, SHORT), SHORT, HEADERS, st.binary(max_size=300), st.integers(4096, 5000))
def test_a_message_is_the_bytes_that_the_library_makes_of_it(
    address: tuple[str, str], kind: str, headers: dict[str, str | int], body: bytes, frame_max: int
) -> None:
    identity = ("0197f3a0-0000-7000-8000-000000000001", kind)
    long = body * 40
    try:
        ours = message(3, address, identity, headers, long, frame_max)
    except UnpublishableError:
        assert sum(len(str(part).encode()) for item in headers.items() for part in item) > 3000
    else:
        assert ours == by_the_library(address, identity, headers, long, frame_max)


def test_a_body_is_cut_to_the_frames_that_were_negotiated() -> None:
    body = bytes(range(256)) * 2048
    ours = message(3, ("x", "y"), ("id", "t"), {}, body, FRAME_MAX_SIZE)
    assert ours == by_the_library(("x", "y"), ("id", "t"), {}, body, FRAME_MAX_SIZE)
    assert ours.count(b"application/json") == 1


@pytest.mark.parametrize(
    ("address", "kind", "headers", "says"),
    [
        (("e", "k" * 256), "t", {}, "has 256 bytes; AMQP carries 255"),
        (("", "\u00e9" * 128), "t", {}, "has 256 bytes"),
        (("e", "k"), "t" * 300, {}, "has 300 bytes"),
        (("e", "k"), "t", {"h" * 256: "v"}, "has 256 bytes"),
        (("e", "k"), "t", {"h": "v" * 5000}, "attributes of 5.* bytes; a frame of this broker holds 4096"),
        (("e", "k"), "t", {"h": "\ud800"}, "not text that UTF-8 can carry"),
    ],
    ids=["routing key", "bytes, not characters", "type", "header name", "headers", "surrogate"],
)
def test_what_does_not_fit_is_refused_and_named(
    address: tuple[str, str], kind: str, headers: dict[str, str | int], says: str
) -> None:
    with pytest.raises(UnpublishableError, match=says):
        message(3, address, ("id", kind), headers, b"{}", 4096)
