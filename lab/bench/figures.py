"""The benchmark's figures, from measurements to the printed lines. Pure."""

import json
from collections.abc import Mapping, Sequence
from statistics import median

# The result's keys, in the order in which they are printed, with what each means.
MEANINGS = {
    "raw_events_per_s": "raw pipelined publishing with pika, median of the rounds",
    "relay_events_per_s": "the relay draining an outbox of the same events, median of the rounds",
    "ratio": "relay / raw",
    "flatness": "rate of reader and cursor at the end of a long history / at its beginning",
    "flatness_held": "the same, with a snapshot and a writer's transaction held open",
    "dead_tuples": "rows updated or deleted in the outbox's tables, per 1,000 events",
    "wal_bytes_per_event": "write-ahead log of the relay's draining alone",
    "pg_statements_per_1000_events": "all that the relay sends while it drains, counted on the client",
    "commit_to_confirm_ms_p50": "from COMMIT's return in the writer to the broker's confirm in the relay",
    "commit_to_confirm_ms_p99": "the same, slowest hundredth",
    "idle_cpu_percent": "of one core, a leading relay with nothing to do",
}


def flatness(first: Sequence[float], last: Sequence[float]) -> float:
    """Rate of the last slices / of the first, each pair measured one after the other: the median of the pairs' ratios.

    A median, because one flush of the disk slows a slice tenfold; of ratios, because the machine's own rate drifts.
    """
    return median(late / early for early, late in zip(first, last, strict=True))


def result_line(figures: Mapping[str, float]) -> str:
    """One JSON object, keys in the order of MEANINGS, four significant digits. Raises KeyError for an unknown key."""
    unknown = figures.keys() - MEANINGS.keys()
    if unknown:
        raise KeyError(f"not a figure of this benchmark: {', '.join(sorted(unknown))}")
    return json.dumps({key: _rounded(figures[key]) for key in MEANINGS if key in figures})


def table(figures: Mapping[str, float]) -> str:
    """The figures with their meanings, a line each, for a person."""
    return "\n".join(
        f"  {key:<30} {_rounded(figures[key]):>10}  {meaning}" for key, meaning in MEANINGS.items() if key in figures
    )


def _rounded(value: float) -> float:
    return float(f"{value:.4g}") if abs(value) < 1000 else round(value)
