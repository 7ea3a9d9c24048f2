"""Forms of PromQL expressions, the same on every dashboard. Pure.

Counters are summed over instances. Figures that are read from the database are the same in every instance, so the
largest is taken; of the relays' monitors, without those that are blind, as the alerts take them. Latency is shown as
quantiles of the whole, never as a mean.
"""

from dashboards.board import Query
from orders.workflow import BY_QUEUE

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

# Relays' monitors, as the alert rules know them.
BLIND = "instance:waybill_relay_monitor_blind:seconds"
BLIND_FOR_POSTGRES = "instance:waybill_relay_monitor_postgres_blind:seconds"

# The share of wanted segments that are ready, by table, as WaybillSegmentsRunOut reads it.
SEGMENTS = "table:waybill_outbox_segments_left:ratio"

# Matchers for the broker's figures by queue.
STEP_QUEUES = f'queue=~"{"|".join(BY_QUEUE)}"'
DEAD_LETTER_QUEUES = f'queue=~"({"|".join(BY_QUEUE)})[.]dlq|unrouted"'


def rate(counter: str, by: str = "", where: str = "") -> str:
    """Events a second."""
    return f"{_aggregate('sum', by)}(rate({counter}{_matching(where)}[$__rate_interval]))"


def grown(counter: str, by: str = "", where: str = "") -> str:
    """Events within the time that the dashboard shows."""
    return f"{_aggregate('sum', by)}(increase({counter}{_matching(where)}[$__range]))"


def highest(gauge: str, by: str = "", where: str = "") -> str:
    """A figure that every instance reads from the same database."""
    return f"{_aggregate('max', by)}({gauge}{_matching(where)})"


def seen(gauge: str, by: str = "") -> str:
    """A figure of the outbox, of those relays' monitors that can see it."""
    return f"{_aggregate('max', by)}({gauge} unless on (instance) {BLIND})"


def seen_of_postgres(gauge: str, by: str = "") -> str:
    """A figure of Postgres itself, of those relays' monitors that can see it; nothing at all when none can."""
    return f"{_aggregate('max', by)}({gauge} unless on (instance) {BLIND_FOR_POSTGRES})"


def total(gauge: str, by: str = "", where: str = "") -> str:
    """A figure with a part in every instance."""
    return f"{_aggregate('sum', by)}({gauge}{_matching(where)})"


def quantile(histogram: str, level: float, by: str = "", where: str = "") -> str:
    """The value that a part of `level` of the observations does not exceed; NaN, a gap, while there are none."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({level}, {rate(f'{histogram}_bucket', labels, where)})"


def quantiles(histogram: str, where: str = "") -> tuple[Query, ...]:
    """The three quantiles of a histogram as lines."""
    return tuple(Query(quantile(histogram, level, where=where), name) for name, level in QUANTILES.items())


def share(part: str, whole: str, of_nothing: int) -> str:
    """Part of a whole, both as the functions above make them; `of_nothing` while the whole is 0.

    No data if either side is missing and the whole is not 0: unknown must not look healthy.
    """
    return f"{part} / ({whole} > 0) or {of_nothing} + 0 * ({whole} == 0)"


def _aggregate(how: str, by: str) -> str:
    return f"{how} by ({by}) " if by else how


def _matching(where: str) -> str:
    return f"{{{where}}}" if where else ""
