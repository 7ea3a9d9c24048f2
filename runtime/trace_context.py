"""W3C Trace Context's `traceparent`: the trace and the parent span of an operation. Pure.

Source: W3C Trace Context, section 3.2. A malformed value counts as absent, as the specification demands.
"""

import re

# Version 00 ends after its flags; a later version may have more fields, and the known ones are read. Version ff and
# ids of zeros are invalid.
_VALID = re.compile(
    r"(?:00-(?P<rest>(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})"
    r"|(?!00|ff)[0-9a-f]{2}-(?P<later>(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?:-[ -~]*)?)\Z"
)
LONGEST = 255  # an envelope's attribute
# Our member of a `tracestate` (section 3.3), which carries values for one system alone.
_FOLLOWS = re.compile(r"waybill=((?!0{16})[0-9a-f]{16})\Z")
_SAMPLED = 1
_KNOWN_FLAGS = 3  # sampled, and random of level 2; others are not passed on (section 3.2.2.5)


def valid(text: str | None) -> str | None:
    """The text as a traceparent of version 00; None if it is not a valid one."""
    found = _VALID.match(text) if text is not None and len(text) <= LONGEST else None
    if found is None:
        return None
    rest = found["rest"] or found["later"]
    return f"00-{rest[:-2]}{int(rest[-2:], 16) & _KNOWN_FLAGS:02x}"


def made(trace_id: int, span_id: int, flags: int) -> str:
    """The traceparent of a span."""
    return f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"


def trace_id_of(traceparent: str) -> str:
    """The 32 hex digits of a valid one's trace."""
    return traceparent[3:35]


def span_id_of(traceparent: str) -> str:
    """The 16 hex digits of a valid one's span."""
    return traceparent[36:52]


def flags_of(traceparent: str) -> int:
    """A valid one's flags."""
    return int(traceparent[53:55], 16)


def is_sampled(traceparent: str) -> bool:
    """Whether the trace of a valid one is recorded by the system that started it."""
    return bool(flags_of(traceparent) & _SAMPLED)


def tracestate_of(traceparent: str) -> str:
    """The `tracestate` that names the span of a valid one."""
    return f"waybill={traceparent[36:52]}"


def named_by(tracestate: object, traceparent: str) -> str | None:
    """The span of a valid one's trace that our `tracestate` names; None for any other value."""
    found = _FOLLOWS.match(tracestate) if isinstance(tracestate, str) else None
    return None if found is None else f"{traceparent[:36]}{found[1]}{traceparent[52:]}"
