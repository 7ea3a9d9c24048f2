"""Tracing: the interface of spans (spans), the spans of this process (tracer), their export (otlp)."""
