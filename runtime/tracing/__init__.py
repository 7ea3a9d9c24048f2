"""Traces: what a span is (spans), this process's spans (tracer), W3C headers (trace_context), export (otlp)."""
