"""Traces of real runs: one order through everything, and what leaves a process as OTLP."""
