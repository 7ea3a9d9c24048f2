"""A traceparent is read as W3C has it: what is malformed counts as absent."""

import pytest

from runtime.trace_context import is_sampled, made, named_by, trace_id_of, tracestate_of, valid
from tests.support.probes.traces import TRACE_ID, TRACEPARENT, UNSAMPLED

SPAN_ID = "00f067aa0ba902b7"


def test_a_valid_one_is_taken_apart_and_put_together() -> None:
    assert valid(TRACEPARENT) == TRACEPARENT
    assert trace_id_of(TRACEPARENT) == TRACE_ID
    assert made(int(TRACE_ID, 16), int(SPAN_ID, 16), 1) == TRACEPARENT
    assert (is_sampled(TRACEPARENT), is_sampled(UNSAMPLED)) == (True, False)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "00-a-b-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-01-more",
        f"00-{TRACE_ID}-{SPAN_ID}-1",
        f"{TRACEPARENT}\n",
        f" {TRACEPARENT}",
        f"01-{TRACE_ID}-{SPAN_ID}-01-{'x' * 255}",
        "00-٤bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ],
)
def test_what_is_malformed_counts_as_absent(text: str | None) -> None:
    assert valid(text) is None


def test_unknown_flags_are_not_passed_on() -> None:
    assert valid(f"00-{TRACE_ID}-{SPAN_ID}-ff") == f"00-{TRACE_ID}-{SPAN_ID}-03"
    assert valid(f"cc-{TRACE_ID}-{SPAN_ID}-f0-x") == UNSAMPLED


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert valid(f"cc-{TRACE_ID}-{SPAN_ID}-01-what-the-future-will-be-like") == TRACEPARENT


def test_a_tracestate_of_ours_names_another_span_of_the_same_trace() -> None:
    here = f"00-{TRACE_ID}-{'1' * 16}-01"
    assert tracestate_of(TRACEPARENT) == f"waybill={SPAN_ID}"
    assert named_by(tracestate_of(TRACEPARENT), here) == TRACEPARENT


@pytest.mark.parametrize("tracestate", [None, 7, "", "waybill=", f"waybill={'0' * 16}", f"other={SPAN_ID}", b"waybill"])
def test_any_other_tracestate_names_nothing(tracestate: object) -> None:
    assert named_by(tracestate, TRACEPARENT) is None
