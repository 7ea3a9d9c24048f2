"""Interface of spans for every room: kinds, attributes, two protocols. Implemented by `runtime.tracing.otlp`."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from typing import Protocol

Attributes = Mapping[str, str | int | float | bool]
NO_ATTRIBUTES: Attributes = {}

# How long the end of a process may wait for its last spans to be sent.
FLUSH_SECONDS = 3.0


class Kind(Enum):
    """Kind of a span, by OpenTelemetry's names."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


# Kinds whose parent comes over the wire: the current span, if any, belongs to other work.
ARRIVING = frozenset({Kind.SERVER, Kind.CONSUMER})


class Span(Protocol):
    """One operation. Others continue the trace with its `traceparent`, None if there is no trace."""

    @property
    def traceparent(self) -> str | None:
        """See the class."""

    def note(self, attributes: Attributes) -> None:
        """Add attributes."""

    def rename(self, name: str) -> None:
        """Change its name."""

    def failed(self, reason: Exception | str) -> None:
        """Mark it as failed. An exception is recorded with its trace, redacted like a log line."""

    def end(self) -> None:
        """End it. A span opened by `with` ends by itself."""


class Tracer(Protocol):
    """Makes spans."""

    def begin(self, name: str, kind: Kind, attributes: Attributes, parent: str | None, links: Sequence[str]) -> Span:
        """A span that its caller ends; it does not become the current span."""

    def span(
        self, name: str, kind: Kind, attributes: Attributes, parent: str | None, links: Sequence[str]
    ) -> "SpanAround":
        """A span around a body; spans of the body are its children."""

    def current(self) -> Span | None:
        """The current span."""

    def close(self) -> None:
        """Send the remaining spans, within FLUSH_SECONDS."""


SpanAround = AbstractContextManager[Span]
