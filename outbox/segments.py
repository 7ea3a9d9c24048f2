"""The segments of `outbox.events` and `outbox.pages`: partitions by ranges of their sequences' numbers. Pure.

Made and dropped by `outbox.partitions`; searched by `outbox.cursor.id_ranges`; watched by `relay.health`.
"""

from dataclasses import dataclass

SEGMENT_EVENTS = 1_000_000
# Writers keep going on these while no relay leads: 16 million orders, a long weekend at 50 a second. Each segment costs
# every new connection 0.4 ms of CPU at its first statement, and memory as long as it lives, so there are not more.
SEGMENTS_AHEAD = 16
SEGMENT_PAGES = 1_000_000
PAGE_SEGMENTS_AHEAD = 8

# The next number that a sequence gives out.
NEXT_ID = "SELECT CASE WHEN is_called THEN last_value + 1 ELSE last_value END FROM outbox.{sequence}"


@dataclass(frozen=True, slots=True)
class Series:
    """A table partitioned by its sequence's numbers: `size` of them to a segment, `ahead` empty segments kept."""

    table: str
    sequence: str
    size: int
    ahead: int


EVENTS = Series("events", "event_ids", SEGMENT_EVENTS, SEGMENTS_AHEAD)
PAGES = Series("pages", "page_ids", SEGMENT_PAGES, PAGE_SEGMENTS_AHEAD)
