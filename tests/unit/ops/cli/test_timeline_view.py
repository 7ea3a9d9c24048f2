"""The sentence of one entry of an order's timeline."""

from datetime import UTC, datetime

from ops.cli.timeline_view import sentence
from orders.tracking.timeline import Entry, EntryKind

REPLAYED = Entry(datetime(2026, 3, 1, tzinfo=UTC), EntryKind.REPLAYED, dead_letter=7, generation=2, actor="anna@desk")


def test_a_replay_without_a_reason_ends_with_who_did_it() -> None:
    assert sentence(REPLAYED) == "dead letter 7 replayed as generation 2 by anna@desk"
