"""What a span is, as every room sees it: kinds, attributes and two protocols. Implemented by runtime.tracing.otlp."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from typing import Protocol

Attributes = Mapping[str, str | int | float | bool]
NO_ATTRIBUTES: Attributes = {}

# How long the end of a process may wait for its last spans to be sent.
FLUSH_SECONDS = 3.0


class Kind(Enum):
    """A span's part in the conversation, as OpenTelemetry names it."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


# What comes over the wire: the span around, if there is one, is something else's.
ARRIVING = frozenset({Kind.SERVER, Kind.CONSUMER})


class Span(Protocol):
    """Something that takes time. `traceparent` is what others continue the trace with, None if there is no trace."""

    @property
    def traceparent(self) -> str | None:
        """See the class."""

    def note(self, attributes: Attributes) -> None:
        """Say more of it."""

    def rename(self, name: str) -> None:
        """Call it otherwise, now that more is known."""

    def failed(self, reason: Exception | str) -> None:
        """Mark it as failed. An exception is recorded with its trace, without what no log line may show either."""

    def end(self) -> None:
        """It is over. A span that was opened by `with` ends by itself."""


class Tracer(Protocol):
    """Makes spans."""

    def begin(self, name: str, kind: Kind, attributes: Attributes, parent: str | None, links: Sequence[str]) -> Span:
        """A span that its maker ends; nothing becomes its child by itself."""

    def span(
        self, name: str, kind: Kind, attributes: Attributes, parent: str | None, links: Sequence[str]
    ) -> "SpanAround":
        """A span around a body, whose spans are its children."""

    def current(self) -> Span | None:
        """The span around here."""

    def close(self) -> None:
        """Send what is left, within FLUSH_SECONDS."""


SpanAround = AbstractContextManager[Span]
