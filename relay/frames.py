"""AMQP 0-9-1 frames of one message: basic.publish, content header, body. Pure. Called by `relay.publisher`.

pika makes the same bytes through a dozen objects per message and sends each frame by itself. That costs several times
as much as all other work of the relay for an event. A test compares these bytes with pika's. Source: AMQP 0-9-1
specification, sections 2.3.5, 4.2 and 1.8.3.7.
"""

import struct
from collections.abc import Mapping
from functools import lru_cache

_FRAME = struct.Struct(">BHI")
_METHOD, _HEADER, _BODY, _END = 1, 2, 3, b"\xce"
_PUBLISH = struct.pack(">HHH", 60, 40, 0)  # class basic, method publish, a reserved ticket
_MANDATORY = b"\x01"
_CONTENT = struct.Struct(">HHQH")  # class, weight, body size, flags
_FLAGS = 1 << 15 | 1 << 13 | 1 << 12 | 1 << 7 | 1 << 5  # content type, headers, delivery mode, message id, type
_PERSISTENT = b"\x02"
_LONG_STRING = struct.Struct(">cI")
_INTEGER = struct.Struct(">ci")
_SIZE = struct.Struct(">I")
_FRAME_BYTES = 8  # seven before the payload, one behind
_LONGEST_SHORT_STRING = 255


class UnpublishableError(Exception):
    """No frame can carry this message; the text names the part that is too large."""


@lru_cache(maxsize=4096)
def short_string(text: str) -> bytes:
    """A string with its length in one byte. Raises UnpublishableError."""
    encoded = _utf8(text)
    if len(encoded) > _LONGEST_SHORT_STRING:
        raise UnpublishableError(f"{text[:40]!r}… has {len(encoded)} bytes; AMQP carries {_LONGEST_SHORT_STRING} there")
    return bytes([len(encoded)]) + encoded


def message(
    channel: int,
    address: tuple[str, str],
    properties: tuple[str, str],
    headers: Mapping[str, str | int],
    body: bytes,
    frame_max: int,
) -> bytes:
    """The frames of one persistent, mandatory JSON message.

    `address` is (exchange, routing key), `properties` is (message id, type), `frame_max` the negotiated size of a
    frame in bytes. Raises UnpublishableError.
    """
    message_id, kind = properties
    content = b"".join((
        _CONTENT.pack(60, 0, len(body), _FLAGS),
        b"\x10application/json",
        _table(headers),
        _PERSISTENT,
        bytes([len(message_id)]),
        message_id.encode(),
        short_string(kind),
    ))  # fmt: skip
    if len(content) + _FRAME_BYTES > frame_max:
        raise UnpublishableError(f"attributes of {len(content)} bytes; a frame of this broker holds {frame_max}")
    return b"".join((
        _publish(channel, *address),
        _FRAME.pack(_HEADER, channel, len(content)),
        content,
        _END,
        *_body(channel, body, frame_max - _FRAME_BYTES),
    ))  # fmt: skip


@lru_cache(maxsize=4096)
def _publish(channel: int, exchange: str, routing_key: str) -> bytes:
    payload = _PUBLISH + short_string(exchange) + short_string(routing_key) + _MANDATORY
    return _FRAME.pack(_METHOD, channel, len(payload)) + payload + _END


def _body(channel: int, body: bytes, largest: int) -> list[bytes]:
    frames: list[bytes] = []
    for start in range(0, len(body), largest):
        part = body[start : start + largest]
        frames += (_FRAME.pack(_BODY, channel, len(part)), part, _END)
    return frames


def _table(headers: Mapping[str, str | int]) -> bytes:
    pieces: list[bytes] = []
    for name, value in headers.items():
        pieces.append(short_string(name))
        if isinstance(value, str):
            encoded = _utf8(value)
            pieces += (_LONG_STRING.pack(b"S", len(encoded)), encoded)
        else:
            pieces.append(_INTEGER.pack(b"I", value))
    table = b"".join(pieces)
    return _SIZE.pack(len(table)) + table


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UnpublishableError(f"{text[:40]!r} is not text that UTF-8 can carry") from error
