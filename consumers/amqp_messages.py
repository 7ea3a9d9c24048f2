"""The message classes that py-amqp makes of incoming frames, in place of its own.

py-amqp has no setting for its message class, so `install` sets the global that it reads for each frame. A process
calls it once, before it connects: a worker with `ReadableMessage` (`consumers.worker.app`), the collector with
`KeptMessage` (`consumers.collector.queues`). `_load_properties` is private to py-amqp: tests hold both classes to
the real thing.
"""

import amqp.basic_message
import amqp.method_framing

from runtime.logging import get_logger
from runtime.redaction.redact import unquoted

log = get_logger(__name__)


class ReadableMessage(amqp.basic_message.Message):
    """A message whose properties are empty when they cannot be read. It is then refused like any foreign message.

    The stock class raises out of the connection for a time header beyond the year 9999: the worker reconnects and gets
    the message again, up to the delivery limit, and each prefetched message pays with its delivery count.
    """

    def _load_properties(self, class_id: int, buf: bytes, offset: int) -> int:
        try:
            return int(super()._load_properties(class_id, buf, offset))  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001 - whatever the bytes are, the process must survive them
            log.warning("headers_unreadable", error=f"{type(error).__name__}: {unquoted(str(error))}")
            self.properties: dict[str, object] = {}
            return len(buf)


class KeptMessage(ReadableMessage):
    """A message that keeps its properties' bytes, for when they cannot be read."""

    raw_properties = b""

    def _load_properties(self, class_id: int, buf: bytes, offset: int) -> int:
        self.raw_properties = bytes(buf[offset:])
        return super()._load_properties(class_id, buf, offset)


def install(message_class: type[ReadableMessage]) -> None:
    """Have py-amqp make messages of this class in this process."""
    amqp.method_framing.Message = message_class  # type: ignore[misc]
