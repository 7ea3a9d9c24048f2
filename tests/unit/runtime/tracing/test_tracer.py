"""A process with tracing on that cannot trace."""

import pytest

from tests.support.processes.log_lines import lines

# A queue shorter than a batch, no pause between two batches, and what it refuses at its import already.
REFUSED = {
    "OTEL_BSP_MAX_QUEUE_SIZE": "256",
    "OTEL_BSP_SCHEDULE_DELAY": "0",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "-1",
}


@pytest.mark.parametrize("variable", REFUSED)
def test_a_variable_that_opentelemetry_refuses_is_named_with_its_value_and_costs_nothing_but_spans(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, REFUSED[variable])
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "key=of-ours")
    (line,) = lines("""
        from runtime.tracing import tracer

        tracer.set_up(settings.model_copy(update={"tracing_otlp_url": "http://127.0.0.1:9"}), "test")
        assert not tracer.is_on()
        with tracer.span("anything"):
            pass
        tracer.shut_down()
    """)
    assert (line["event"], line["level"]) == ("tracing_off", "error")
    assert line["error"].startswith("ValueError: ")
    assert line["variables"] == {variable: REFUSED[variable]}
