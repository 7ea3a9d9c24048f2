"""A log line as a process writes it: whose it is, and what it does not show."""

import json
import os
import subprocess
from collections.abc import Callable

import pytest

from tests.support.probes.traces import TRACE_ID
from tests.support.processes.log_lines import FIELDS, ORDER_ID, attribute, lines, printed


def test_each_line_within_a_delivery_bears_all_six_fields_a_librarys_too() -> None:
    our, their = lines("""
        context = LogContext("a_step", order_id=ORDER_ID, event_id="e", task_id="t", attempt=1, traceparent=TRACEPARENT)
        with bind(context):
            bind_attempt(3)
            ours.info("step_ended", outcome="done")
            theirs.warning("retrying in %s s", 3)
    """)
    borne = {"order_id": ORDER_ID, "event_id": "e", "task_id": "t", "step": "a_step", "attempt": 3}
    for line in (our, their):
        assert {name: line[name] for name in FIELDS} == borne | {"trace_id": TRACE_ID}
    assert (our["event"], our["outcome"], our["process"]) == ("step_ended", "done", "test")
    assert (their["event"], their["level"], their["logger"]) == ("retrying in 3 s", "warning", "library")


def test_without_a_trace_the_trace_id_is_the_orders() -> None:
    (line,) = lines("""
        with bind(LogContext("place_order")):
            bind_order(UUID(ORDER_ID))
            ours.info("order_accepted")
    """)
    assert line["trace_id"] == ORDER_ID.replace("-", "")


def test_without_an_order_either_the_lines_of_one_request_have_one_of_their_own() -> None:
    first, second, third = (
        line["trace_id"]
        for line in lines("""
        for number in (2, 1):
            with bind(LogContext("request")):
                for _ in range(number):
                    ours.info("client_left")
    """)
    )
    assert first == second != third
    assert len(first) == 32


def test_outside_of_any_work_a_line_bears_none_of_the_fields() -> None:
    (line,) = lines("ours.info('leading')")
    assert not FIELDS & line.keys()


def test_what_is_private_is_hidden_in_values_lists_and_traces() -> None:
    found = lines("""
        with bind(LogContext("x")):
            redact("Jane Doe")
            try:
                raise RuntimeError("Jane Doe is away")
            except RuntimeError as error:
                ours.error("request_failed", reasons=["Jane Doe"], cause=error, exc_info=error)
                theirs.exception("of Jane Doe")
    """)
    assert len(found) == 2
    for line in found:
        assert "Jane" not in json.dumps(line)
        assert "RuntimeError" in line["exception"]


def test_a_line_below_the_level_is_not_written() -> None:
    assert not lines("""
        ours.debug("pages_confirmed")
        theirs.debug("chatter")
        logging.getLogger("celery.app.trace").warning("Task x rejected")
    """)


def test_a_warning_of_python_is_a_line_like_any_other() -> None:
    (line,) = lines("warnings.warn('old')")
    assert "UserWarning: old" in line["event"]


def test_the_console_shows_the_same_for_people() -> None:
    shown = attribute("ours.info('leading', epoch=3)", "console")
    assert "leading" in shown
    assert "epoch=3" in shown


def test_an_uncaught_error_is_a_line_wherever_it_happens() -> None:
    thread, unraisable, end = lines(
        """
        def fail():
            raise RuntimeError("of jane@example.com")

        class Falls:
            def __del__(self):
                fail()

        thread = threading.Thread(target=fail, name="monitor")
        thread.start()
        thread.join()
        Falls()
        fail()
        """,
        exit_code=1,
    )
    assert thread["thread"] == "monitor"
    assert "__del__" in unraisable["object"]
    for line in (thread, unraisable, end):
        assert (line["event"], line["level"]) == ("uncaught", "critical")
        assert "RuntimeError: of ***" in line["exception"]


def test_a_value_without_a_text_raises_nothing() -> None:
    (line,) = lines("""
        class Mute:
            def __str__(self):
                raise RuntimeError("jane@example.com")

        ours.info("leading", value=Mute())
    """)
    assert line["value"] == "<Mute without a text: RuntimeError>"


_GOES_ON = """
ours.info("leading")
theirs.warning("of a library")
print("it went on")
"""


def _a_full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def _a_pipe_that_nobody_reads() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("opened", [_a_full_disk, _a_pipe_that_nobody_reads])
def test_a_line_that_cannot_be_written_raises_nothing(opened: Callable[[], int]) -> None:
    stderr = opened()
    try:
        assert printed(_GOES_ON, stderr) == "it went on\n"
    finally:
        os.close(stderr)


@pytest.mark.parametrize("ended", ["sys.stderr.close()", "sys.stderr = None"])
def test_nor_does_one_for_which_there_is_no_standard_error_any_more(ended: str) -> None:
    assert printed(f"{ended}\nours.info('leading')\nprint('it went on')", subprocess.DEVNULL) == "it went on\n"


def test_private_data_is_hidden_in_keys_too_and_any_key_can_be_logged() -> None:
    (line,) = lines(
        "ours.info('leading', reported={'jane@example.com': 1, ('a', 'jane@example.com'): {b'jane@example.com'}})"
    )
    assert "jane" not in json.dumps(line)
    assert len(line["reported"]) == 2
